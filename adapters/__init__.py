"""The registry: immutable adapter versions, their states, their files, and the route."""
