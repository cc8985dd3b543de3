"""The process: the OpenAI-compatible chat on vLLM, feedback, admin, metrics, CLI."""
