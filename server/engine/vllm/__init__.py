"""vLLM's own OpenAI serving layer and engine, behind our interface."""
