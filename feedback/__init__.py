"""The log: requests, the versions that answered, and the feedback on the answers."""
