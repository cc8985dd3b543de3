"""The rules for chat and completion requests, the same for every engine."""
