"""The database's errors that are the server's own."""

from sqlalchemy.exc import TimeoutError as NoConnectionError


class DatabaseAwayError(NoConnectionError):
    """The database does not answer, and nobody waits for it: SQLAlchemy's error of no connection.

    Not a `ServerError`: whoever expects the database's errors expects this one.
    """

    def __init__(self) -> None:
        super().__init__("the database does not answer: try again")
