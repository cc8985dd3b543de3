"""The server's errors. What HTTP status each has is in `server.error_status`."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


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


class ProxyError(ServerError):
    """A request that a proxy passed on, while the server is open to this machine."""

    def __init__(self) -> None:
        super().__init__(
            "without keys only this machine is served, and this request came through a proxy: "
            "make a key with 'pawl keys create'"
        )


class KeysUnavailableError(ServerError):
    """A key that is not cached, while the database cannot be asked: it may be a new one."""

    def __init__(self) -> None:
        super().__init__("this key cannot be looked up now: send the request again later")


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
    """A body that is not a JSON object, or holds in `field` what none can hold."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        self.field = field
        super().__init__(message)


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


class NotFreeError(SetupError):
    """Something that the settings name is in use, or does not answer: after a restart it may."""


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
"""What the operating system says of a path that cannot be used; a full disk is none of these."""


@contextmanager
def path_errors(setting: str) -> Iterator[None]:
    """Turn a path that cannot be made, read or written into a `SetupError` that names `setting`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRONG_PATH:
            raise
        raise SetupError(f"{setting}: {error.filename}: {error.strerror}") from error
