"""Errors of an engine. No message quotes a request or an answer."""

from server.engine.base import EngineResponse
from server.engine.error_body import error_body


class EngineError(Exception):
    """Base class of the errors that an engine raises."""


class EngineStartError(EngineError):
    """The engine could not be started with these settings; the message says what to change."""


class EngineDeadError(EngineError):
    """The engine has died or was closed; only a restart of the process brings it back."""

    def __init__(
        self,
        message: str = "The engine has died and is being restarted: send the request again later.",
    ) -> None:
        super().__init__(message)


class RequestAbortedError(EngineError):
    """The engine aborted a request because it is being closed."""

    def __init__(self) -> None:
        super().__init__("The engine gave the request up: send it again.")


class NotFiniteError(EngineError):
    """An answer came from logits with NaN: it is meaningless, and the KV cache may hold NaN."""

    def __init__(self) -> None:
        super().__init__(
            "The engine computed no finite answer and is being restarted: send the request again "
            "later."
        )


class AdapterLoadError(EngineError):
    """The engine refused an adapter. The engine and its other adapters keep working."""

    def __init__(self, version: str, reason: str) -> None:
        super().__init__(f"Adapter {version} was not loaded: {reason}")
        self.version = version
        self.reason = reason


class RequestRefusedError(EngineError):
    """A refused request: the HTTP `status` (4xx or 503), the field at fault and the reason."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status

    def response(self) -> EngineResponse:
        """Return the response with OpenAI's error object."""
        return EngineResponse(
            status=self.status,
            body=error_body(self.message, status=self.status, param=self.param),
        )
