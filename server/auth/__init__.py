"""API keys, their roles, and the secret under interaction ids."""
