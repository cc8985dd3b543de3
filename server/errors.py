"""The server's errors, and the one table that says which HTTP status each domain error has."""

from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from adapters import errors as adapter_errors
from feedback import errors as feedback_errors
from retrain import errors as run_errors
from server.engine import errors as engine_errors


class ServerError(Exception):
    """An error of the server itself; the message says what to do."""


class AuthenticationError(ServerError):
    """No key, or one that is not known."""

    def __init__(self) -> None:
        super().__init__(
            "a valid key is needed: send 'Authorization: Bearer <key>' "
            "(an administrator makes one with 'pawl keys create')"
        )


class PermissionDeniedError(ServerError):
    """A key without the role."""

    def __init__(self, role: str) -> None:
        super().__init__(f"this needs a key with the role '{role}'")


class HostError(ServerError):
    """A request by a foreign name, while the server is open to this machine."""

    def __init__(self) -> None:
        super().__init__(
            "without keys only this machine is served, by the names localhost and 127.0.0.1: "
            "make a key with 'pawl keys create'"
        )


class KeysUnavailableError(ServerError):
    """A key that is not cached, while the database cannot be asked: it may be a new one."""

    def __init__(self) -> None:
        super().__init__("this key cannot be looked up now: send the request again later")


class DatabaseAwayError(NoConnectionError):
    """The database does not answer, and nobody waits for it: SQLAlchemy's error of no connection.

    Not a `ServerError`: whoever expects the database's errors expects this one.
    """

    def __init__(self) -> None:
        super().__init__("the database does not answer: try again")


class KeyNotFoundError(ServerError):
    """No key of that id."""

    def __init__(self, identifier: str) -> None:
        del identifier
        super().__init__("there is no such key: 'pawl keys list' shows them")


class BodyTooLargeError(ServerError):
    """More bytes than the server reads."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes: send less")


class BodyError(ServerError):
    """A body that is not a JSON object."""


class LimitError(ServerError):
    """A request that asks for more than is given. Names the field, never its value."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


class DrainingError(ServerError):
    """The server is about to end."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down: send the request to another one or retry")


class NotRunningError(ServerError):
    """Something that needs a running server was asked of one that is not serving."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs a running server: start 'pawl serve' and try again")


class LeftOutError(ServerError):
    """A part of OpenAI's API that Pawl does not have."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what} is not part of Pawl: use {instead}")


class RetentionNotSetError(ServerError):
    """Texts are to be removed, and no setting says from what age on."""

    def __init__(self) -> None:
        super().__init__("texts are kept for ever: set feedback.retention_days first")


class SetupError(ServerError):
    """The settings do not allow a start; the message says what to change."""


STATUS: Mapping[type[Exception], int] = {
    AuthenticationError: 401,
    PermissionDeniedError: 403,
    HostError: 403,
    KeysUnavailableError: 503,
    KeyNotFoundError: 404,
    BodyTooLargeError: 413,
    BodyError: 400,
    LimitError: 400,
    LeftOutError: 404,
    DrainingError: 503,
    NotRunningError: 503,
    RetentionNotSetError: 409,
    engine_errors.EngineDeadError: 503,
    engine_errors.AdapterLoadError: 409,
    feedback_errors.InvalidInputError: 422,
    feedback_errors.InteractionNotFoundError: 404,
    feedback_errors.FeedbackTokenError: 401,
    feedback_errors.FeedbackTokenScopeError: 403,
    feedback_errors.ConflictError: 409,
    feedback_errors.StoreUnavailableError: 503,
    adapter_errors.AdaptersError: 409,
    adapter_errors.InvalidNameError: 422,
    adapter_errors.UnknownModelError: 404,
    adapter_errors.UnknownChannelError: 404,
    adapter_errors.UnknownVersionError: 404,
    adapter_errors.VettingError: 422,
    adapter_errors.ArtifactError: 503,
    run_errors.RetrainError: 409,
    run_errors.UnknownRunError: 404,
    run_errors.UnknownRolloutError: 404,
    run_errors.RolloutUnderWayError: 409,
    run_errors.NotAwaitedError: 409,
    run_errors.UnknownChannelError: 404,
    run_errors.InvalidSlotError: 422,
    SQLAlchemyError: 503,
}
"""The HTTP status of each domain error; looked up along the error's classes, nearest first."""


def status_of(error: Exception) -> int | None:
    """The HTTP status of a domain error; None for what nobody expected."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def field_of(error: Exception) -> str | None:
    """The field that a domain error is about; None where it is about none."""
    problems = getattr(error, "problems", ())
    return problems[0].field if problems else getattr(error, "field", None)


UNAVAILABLE = 503
RETRY_AFTER_SECONDS = 2


def retry_after(status: int) -> dict[str, str] | None:
    """The header that tells a client to come back, where that helps."""
    return {"retry-after": str(RETRY_AFTER_SECONDS)} if status == UNAVAILABLE else None
