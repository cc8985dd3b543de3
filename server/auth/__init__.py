"""API keys and their roles, and the secret that authenticates interaction ids."""
