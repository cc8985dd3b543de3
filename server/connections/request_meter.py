"""How far one connection's current request has been read, and when it has become too large.

Pure: the protocol reports what the parser tells it, and raises or refuses by the answers.
"""

from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus

from server.config import HttpConfig

SLICE_BYTES = 16_384
"""The parser gets what arrives in pieces of this size, and the meter is asked after each."""
FIELD_OVERHEAD_BYTES = 4
"""`: ` and the line's end."""
FRAMING_BYTES_PER_BODY_BYTE = 16
"""Chunked transfer of one byte at a time takes five; what takes more sends padding."""


class ReadPhase(Enum):
    """What of a request is awaited."""

    IDLE = "idle"
    """Its first byte, or its head has not been recognised yet."""
    HEAD = "head"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is closed before its request reaches a route."""

    status: HTTPStatus
    reason: str
    """A fixed word for metrics."""
    message: str


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
    """Raised through the parser, so that it stops; the meter holds the refusal."""


@dataclass(slots=True)
class RequestMeter:
    """Counts the current request. `refusal` is set once, and stays."""

    config: HttpConfig
    phase: ReadPhase = ReadPhase.IDLE
    refusal: Refusal | None = None
    _url: int = 0
    _head: int = 0
    _fields: int = 0
    _raw: int = field(default=0)
    """Bytes given to the parser since it last got on: to a head, or to a piece of a body."""
    _framing: int = 0
    _body: int = 0

    def begin(self) -> None:
        """A request's first byte was parsed."""
        self.phase = ReadPhase.HEAD
        self._url = self._head = self._fields = self._raw = self._framing = self._body = 0

    def url(self, size: int) -> None:
        """A piece of the request's target; raises `RequestMeterError`."""
        self._url += size
        self._head += size
        if self._url > self.config.url_bytes:
            self.refuse(URL_TOO_LONG)
        self._check_head()

    def header(self, size: int) -> None:
        """One header, name and value together; raises `RequestMeterError`."""
        self._fields += 1
        self._head += size + FIELD_OVERHEAD_BYTES
        self._check_head()

    def head_complete(self) -> None:
        """What follows is the body."""
        self.phase = ReadPhase.BODY
        self._raw = 0

    def body(self, size: int) -> None:
        """A piece of the body, as the parser hands it on."""
        self._body += size
        self._raw = 0

    def complete(self) -> None:
        """The request was read to its end."""
        self.phase = ReadPhase.IDLE
        self._raw = 0

    def fed(self, size: int) -> None:
        """The parser was given so many bytes; raises `RequestMeterError` when they lead nowhere."""
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
        """Remember the first refusal and raise `RequestMeterError`."""
        self.refusal = self.refusal or refusal
        raise RequestMeterError

    def _check_head(self) -> None:
        config = self.config
        if self._head > config.head_bytes or self._fields > config.head_fields:
            self.refuse(HEAD_TOO_LARGE)
