"""Errors of the database layer."""

from sqlalchemy.exc import TimeoutError as NoConnectionError


class DatabaseAwayError(NoConnectionError):
    """The database is unavailable, so sessions are refused without waiting.

    A subclass of SQLAlchemy's pool timeout instead of `ServerError`, so that code that handles
    database errors handles this one too.
    """

    def __init__(self) -> None:
        super().__init__("the database does not answer: try again")
