"""The HTTP status of each domain error, in one table."""

from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError

from adapters import errors as adapter_errors
from feedback import errors as feedback_errors
from retrain import errors as run_errors
from server.engine import errors as engine_errors
from server.errors import (
    AuthenticationError,
    BodyError,
    BodyTooLargeError,
    DrainingError,
    HostError,
    KeyNotFoundError,
    KeysUnavailableError,
    LeftOutError,
    LimitError,
    NotRunningError,
    PermissionDeniedError,
    ProxyError,
    RetentionNotSetError,
)

STATUS: Mapping[type[Exception], int] = {
    AuthenticationError: 401,
    PermissionDeniedError: 403,
    HostError: 403,
    ProxyError: 403,
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
    feedback_errors.FeedbackNotFoundError: 404,
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
    run_errors.InvalidSlotError: 422,
    SQLAlchemyError: 503,
}
"""The HTTP status of each domain error. The most specific class of an error applies."""


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of a domain error; None for any other error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def field_of(error: Exception) -> str | None:
    """Return the request's field that a domain error concerns; None if there is none."""
    problems = getattr(error, "problems", ())
    return problems[0].field if problems else getattr(error, "field", None)


UNAVAILABLE = 503
RETRY_AFTER_SECONDS = 2
"""Value of the `Retry-After` header in seconds."""


def retry_after(status: int) -> dict[str, str] | None:
    """Return the `Retry-After` header for a 503; None for other statuses."""
    return {"retry-after": str(RETRY_AFTER_SECONDS)} if status == UNAVAILABLE else None
