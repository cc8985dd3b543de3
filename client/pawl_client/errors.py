"""Errors of the client."""


class PawlClientError(Exception):
    """Base class of this package's errors."""


class RefusedError(PawlClientError):
    """The server refused the request: sending it again will not help.

    Attributes:
        status: The HTTP status.
        param: The field at fault, if the server names one.

    """

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class UnavailableError(PawlClientError):
    """The server could not be reached or did not accept the request in any attempt."""
