"""The server's errors. Their HTTP statuses are in `server.error_status`."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class ServerError(Exception):
    """An error of the server itself; the message says what to do."""


class AuthenticationError(ServerError):
    """The key is missing or unknown."""

    def __init__(self) -> None:
        super().__init__(
            "a valid key is needed: send 'Authorization: Bearer <key>' "
            "(an administrator makes one with 'pawl keys create')"
        )


class PermissionDeniedError(ServerError):
    """The key does not have the required role."""

    def __init__(self, role: str) -> None:
        super().__init__(f"this needs a key with the role '{role}'")


class HostError(ServerError):
    """The Host header does not name this machine, and the server works without keys."""

    def __init__(self) -> None:
        super().__init__(
            "without keys only this machine is served, by the names localhost and 127.0.0.1: "
            "make a key with 'pawl keys create'"
        )


class ProxyError(ServerError):
    """A proxy forwarded the request, and the server works without keys."""

    def __init__(self) -> None:
        super().__init__(
            "without keys only this machine is served, and this request came through a proxy: "
            "make a key with 'pawl keys create'"
        )


class KeysUnavailableError(ServerError):
    """The key is not cached and the database is unavailable, so the key may be valid."""

    def __init__(self) -> None:
        super().__init__("this key cannot be looked up now: send the request again later")


class KeyNotFoundError(ServerError):
    """There is no key of that id."""

    def __init__(self, identifier: str) -> None:
        del identifier
        super().__init__("there is no such key: 'pawl keys list' shows them")


class BodyTooLargeError(ServerError):
    """The body is larger than `server.limits.body_bytes`."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes: send less")


class BodyError(ServerError):
    """The body is not a JSON object, or the value of `field` is invalid."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        self.field = field
        super().__init__(message)


class LimitError(ServerError):
    """The request exceeds a limit. The message names the field, never its value."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


class DrainingError(ServerError):
    """The server is shutting down."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down: send the request to another one or retry")


class NotRunningError(ServerError):
    """The operation needs a running server, and none is running."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs a running server: start 'pawl serve' and try again")


class LeftOutError(ServerError):
    """A part of OpenAI's API that Pawl does not have."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what} is not part of Pawl: use {instead}")


class RetentionNotSetError(ServerError):
    """Texts cannot be removed, because no retention period is set."""

    def __init__(self) -> None:
        super().__init__("texts are kept for ever: set feedback.retention_days first")


class SetupError(ServerError):
    """The settings do not allow a start; the message says what to change."""


class NotFreeError(SetupError):
    """A resource that the settings name is in use or does not answer; a later start may work."""


_WRONG_PATH = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""Error numbers of a path that cannot be used; a full disk is not one of them."""


@contextmanager
def path_errors(setting: str) -> Iterator[None]:
    """Turn a path that cannot be made, read or written into a `SetupError` that names `setting`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRONG_PATH:
            raise
        raise SetupError(f"{setting}: {error.filename}: {error.strerror}") from error
