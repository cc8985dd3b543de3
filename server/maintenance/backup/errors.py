"""Errors of backups; each message says what to do."""

from server.errors import ServerError


class BackupError(ServerError):
    """A backup could not be made or restored. The serving data is unchanged."""
