"""The OpenAPI description: request and response bodies of OpenAI's API, and errors."""
