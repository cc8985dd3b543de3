"""Tracks how far a connection's current request has been read, and enforces its size limits.

Pure: the protocol reports the parser's events, and the meter raises if a limit is exceeded.
"""

from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus

from server.config import HttpConfig

SLICE_BYTES = 16_384
"""Bytes that are passed to the parser at once; limits are checked after each piece."""
FIELD_OVERHEAD_BYTES = 4
"""Bytes of a header besides name and value: `: ` and the line break."""
FRAMING_BYTES_PER_BODY_BYTE = 16
"""Maximum framing bytes per byte of a chunked body. Chunks of one byte need five; more is padding
by chunk extensions."""


class ReadPhase(Enum):
    """The part of a request that is expected next."""

    IDLE = "idle"
    """The first byte, or the parser has not recognised a head yet."""
    HEAD = "head"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error with which a connection is closed before its request reaches a route."""

    status: HTTPStatus
    reason: str
    """The label in metrics."""
    message: str
    """The message to the client."""


BAD_REQUEST = Refusal(HTTPStatus.BAD_REQUEST, "malformed", "this is not a valid HTTP/1.1 request")
HEAD_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head_too_large",
    "the headers are too large or too many: send fewer (server.http.head_bytes, head_fields)",
)
URL_TOO_LONG = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG,
    "url_too_long",
    "the URL is too long: send a shorter one (server.http.url_bytes)",
)
FRAMING_TOO_LARGE = Refusal(
    HTTPStatus.BAD_REQUEST,
    "framing_too_large",
    "chunk extensions or trailers are too large: leave them out",
)
HEAD_TOO_SLOW = Refusal(
    HTTPStatus.REQUEST_TIMEOUT,
    "head_too_slow",
    "the headers did not arrive in time (server.http.head_seconds)",
)
BODY_TOO_SLOW = Refusal(
    HTTPStatus.REQUEST_TIMEOUT,
    "body_too_slow",
    "the body did not arrive in time (server.http.body_seconds)",
)
TOO_MANY_AHEAD = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    "pipelined",
    "too many requests were sent ahead of their answers: wait for the answers",
)
TOO_MANY_CONNECTIONS = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too_many_connections",
    "too many connections are open: try again (server.http.connections, connections_per_peer)",
)


REFUSALS = (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    URL_TOO_LONG,
    FRAMING_TOO_LARGE,
    HEAD_TOO_SLOW,
    BODY_TOO_SLOW,
    TOO_MANY_AHEAD,
    TOO_MANY_CONNECTIONS,
)


class RequestMeterError(Exception):
    """Stops the parser; the meter holds the refusal."""


@dataclass(slots=True)
class RequestMeter:
    """Counts the bytes and headers of the current request. `refusal` is the first one, if any."""

    config: HttpConfig
    phase: ReadPhase = ReadPhase.IDLE
    refusal: Refusal | None = None
    _url: int = 0
    _head: int = 0
    _fields: int = 0
    _raw: int = field(default=0)
    """Bytes passed to the parser since it last completed a head or returned a piece of a body."""
    _framing: int = 0
    _body: int = 0

    def begin(self) -> None:
        """Start counting a request: its first byte was parsed."""
        self.phase = ReadPhase.HEAD
        self._url = self._head = self._fields = self._raw = self._framing = self._body = 0

    def url(self, size: int) -> None:
        """Count `size` bytes of the target; raises `RequestMeterError`."""
        self._url += size
        self._head += size
        if self._url > self.config.url_bytes:
            self.refuse(URL_TOO_LONG)
        self._check_head()

    def header(self, size: int) -> None:
        """Count one header, `size` bytes of name and value; raises `RequestMeterError`."""
        self._fields += 1
        self._head += size + FIELD_OVERHEAD_BYTES
        self._check_head()

    def head_complete(self) -> None:
        """Expect the body next."""
        self.phase = ReadPhase.BODY
        self._raw = 0

    def body(self, size: int) -> None:
        """Count `size` bytes of the body that the parser returned."""
        self._body += size
        self._raw = 0

    def complete(self) -> None:
        """Expect the next request: the current one was read completely."""
        self.phase = ReadPhase.IDLE
        self._raw = 0

    def fed(self, size: int) -> None:
        """Count `size` bytes passed to the parser.

        Raises `RequestMeterError` if too many bytes completed no head and gave no body.
        """
        self._raw += size
        room = self.config.head_bytes + SLICE_BYTES
        if self.phase is not ReadPhase.BODY:
            if self._raw > room:
                self.refuse(HEAD_TOO_LARGE)
            return
        self._framing += size
        allowed = self._body * (1 + FRAMING_BYTES_PER_BODY_BYTE) + room
        if self._raw > room or self._framing > allowed:
            self.refuse(FRAMING_TOO_LARGE)

    def refuse(self, refusal: Refusal) -> None:
        """Keep the first refusal and raise `RequestMeterError`."""
        self.refusal = self.refusal or refusal
        raise RequestMeterError

    def _check_head(self) -> None:
        config = self.config
        if self._head > config.head_bytes or self._fields > config.head_fields:
            self.refuse(HEAD_TOO_LARGE)
