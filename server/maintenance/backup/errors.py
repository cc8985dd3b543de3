"""What can go wrong with backups; each message says what to do."""

from server.errors import ServerError


class BackupError(ServerError):
    """A backup that was not made, or cannot be restored. What serves is unchanged."""
