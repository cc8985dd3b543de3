"""Pure rules: which version answers a request, and which state transitions are allowed."""
