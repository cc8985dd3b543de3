"""Errors of the log. `server/errors.py` maps them to HTTP status codes.

No message contains anything that a client sent.
"""

from collections.abc import Sequence
from typing import NamedTuple


class FieldProblem(NamedTuple):
    """One field of the input and what it should have been."""

    field: str
    message: str


class FeedbackError(Exception):
    """Base class of the log's errors."""


class InvalidInputError(FeedbackError):
    """The input breaks a rule; `problems` name the fields."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.problems))

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidInputError":
        """Create the error for one problem with one field."""
        return cls([FieldProblem(field, message)])


class InteractionNotFoundError(FeedbackError):
    """The id in `field` was not issued by this server to this tenant, or is not in the log."""

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__(f"{field}: no such interaction; send the id of a completion as received")


class FeedbackNotFoundError(FeedbackError):
    """No feedback of the tenant has this id."""

    def __init__(self) -> None:
        self.field = "feedback_id"
        super().__init__("feedback_id: no such feedback; send the id that POST /v1/feedback gave")


class ConflictError(FeedbackError):
    """The id in `field` is already used for other content."""

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__(f"{field}: already used for another content; send a new one")


class FeedbackTokenError(FeedbackError):
    """A feedback token that is invalid, or not valid for this request."""

    @classmethod
    def forged(cls) -> "FeedbackTokenError":
        """The token was not issued by this server."""
        return cls("this feedback token was not issued here: ask the application for one")

    @classmethod
    def expired(cls) -> "FeedbackTokenError":
        """The token has expired."""
        return cls("this feedback token has expired: ask the application for a new one")

    @classmethod
    def elsewhere(cls) -> "FeedbackTokenError":
        """The token was sent to a route other than that of feedback."""
        return cls("a feedback token is for POST /v1/feedback alone: send a key")

    @classmethod
    def needed(cls) -> "FeedbackTokenError":
        """A cross-origin page sent feedback without a token."""
        return cls("a browser rates with a feedback token: ask the application for one")


class FeedbackTokenScopeError(FeedbackError):
    """Feedback on an interaction other than the token's."""

    def __init__(self) -> None:
        super().__init__(
            "inference_id: this feedback token is for another interaction: ask the application "
            "for one of this interaction"
        )


class StoreUnavailableError(FeedbackError):
    """The database did not answer in time; nothing is acknowledged, and the client should retry."""

    def __init__(self, retry_after_seconds: int = 5) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__("the log cannot be reached now; send it again with the same id")


class SpoolUnavailableError(FeedbackError):
    """The spool cannot store rows: the disk is full, or the spool has reached its largest size."""

    def __init__(self) -> None:
        super().__init__(
            "the spool takes no row: check the disk under data_dir, and feedback.spool_max_bytes"
        )


class RecorderFullError(FeedbackError):
    """The recorder's queue is full: the database has been slow or unavailable for long."""

    def __init__(self) -> None:
        super().__init__("the recorder's queue is full; check the database")


class RecorderClosedError(FeedbackError):
    """The recorder is not running (not started, or closed)."""

    def __init__(self) -> None:
        super().__init__("the recorder is not running")


class RowRejectedError(FeedbackError):
    """The database refuses this row, independently of the rest of its batch."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"the database refused the row ({cause})")
