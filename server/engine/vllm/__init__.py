"""The real engine: vLLM's own OpenAI serving layer and engine behind `server.engine.base`."""
