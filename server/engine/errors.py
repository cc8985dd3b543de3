"""What can go wrong with an engine. None of the messages holds anybody's text."""

from server.engine.base import EngineResponse
from server.engine.error_body import error_body


class EngineError(Exception):
    """Base of everything an engine raises."""


class EngineStartError(EngineError):
    """The engine could not be started with these settings; the message says what to change."""


class EngineDeadError(EngineError):
    """The engine has died or was closed; only a restart of the process brings it back."""

    def __init__(
        self,
        message: str = "The engine has died and is started again: send the request in a while.",
    ) -> None:
        super().__init__(message)


class RequestAbortedError(EngineError):
    """The engine gave a request up: it is being closed."""

    def __init__(self) -> None:
        super().__init__("The engine gave the request up: send it again.")


class NotFiniteError(EngineError):
    """An answer came from logits with NaN: it means nothing, and the engine's cache is spoiled."""

    def __init__(self) -> None:
        super().__init__(
            "The engine computed no finite answer and is started again: send the request in a "
            "while."
        )


class AdapterLoadError(EngineError):
    """The engine refused an adapter. It stays up, and so do the adapters it already has."""

    def __init__(self, version: str, reason: str) -> None:
        super().__init__(f"Adapter {version} was not loaded: {reason}")
        self.version = version
        self.reason = reason


class RequestRefusedError(EngineError):
    """A request that is not answered: `status` (4xx or 503), the field at fault, and why."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status

    def response(self) -> EngineResponse:
        """The OpenAI error object that tells the client."""
        return EngineResponse(
            status=self.status,
            body=error_body(self.message, status=self.status, param=self.param),
        )
