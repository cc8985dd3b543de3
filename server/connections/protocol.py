"""uvicorn's two HTTP protocols (`uvicorn.protocols.http`) with limits.

uvicorn 0.54 does not limit headers parsed by httptools 0.9, has no timeout except keep-alive, and
accepts any number of connections and pipelined requests. This module can go once uvicorn has these
limits. `tests/server/connections` check what it overrides over real sockets.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.connections.admission import OpenConnections, peer_of
from server.connections.deadlines import LINGER_SECONDS, Overdue, ReadDeadline, WriteProgress
from server.connections.request_meter import (
    BAD_REQUEST,
    BODY_TOO_SLOW,
    HEAD_TOO_LARGE,
    HEAD_TOO_SLOW,
    SLICE_BYTES,
    TOO_MANY_AHEAD,
    TOO_MANY_CONNECTIONS,
    ReadPhase,
    Refusal,
    RequestMeter,
    RequestMeterError,
)
from server.engine.error_body import error_body
from server.error_status import retry_after

log = structlog.get_logger()

_DROP_UNSENT = struct.pack("ii", 1, 0)
PIPELINED_MAX = 8
"""Maximum number of requests that a client may send before their answers. Few clients send any."""


class BoundedConnection(asyncio.Protocol):
    """The limits of both protocols: a mixin in front of uvicorn's class.

    Args:
        open_connections: All connections of this server.
        arguments: uvicorn's own arguments.

    """

    # Attributes of uvicorn's classes that are used here.
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any
    flow: Any
    server_state: Any

    def __init__(self, *, open_connections: OpenConnections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._connections = open_connections
        self._config = open_connections.config
        self.meter = RequestMeter(self._config)
        self.peer = "unknown"
        self._refused = False
        self._lingering_since: float | None = None
        now = self.loop.time()
        self._reading = ReadDeadline(self._config, now)
        self._writing = WriteProgress(self._config, now)

    # Called by the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and refuse it if a limit is reached."""
        self.peer = peer_of(transport.get_extra_info("peername"))
        super().connection_made(transport)
        if not self._connections.admit(self):
            self.refuse(TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._connections.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser piece by piece, so that an exceeded limit is noticed early."""
        self._unset_keepalive_if_required()
        for piece in _pieces(data):
            if self._refused or self.transport.is_closing():
                return
            before = self.meter.phase
            self._feed(piece)
            if self.meter.phase is not before:
                self._reading.since = self.loop.time()

    def pause_writing(self) -> None:
        """Start measuring `write_seconds`: the write buffer is full."""
        super().pause_writing()
        self._restart_writing()

    def resume_writing(self) -> None:
        """Restart the measurement: the peer has caught up."""
        super().resume_writing()
        self._restart_writing()

    # Called by uvicorn.

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of the body of one that was answered early."""
        self._reading.answered = True
        self._reading.since = self.loop.time()
        self._restart_writing()
        if self.meter.phase is ReadPhase.BODY:
            self._lingering_since = self.loop.time()
        super().on_response_complete()  # type: ignore[misc]  # uvicorn's, behind this mixin

    def send_400_response(self, _message: str) -> None:
        """Refuse a request that the parser or the meter rejected."""
        self.refuse(self.meter.refusal or BAD_REQUEST)

    # Called by `OpenConnections`.

    @property
    def waiting_since(self) -> float | None:
        """Monotonic time since which it waits for a request; None while answering one."""
        return None if self._answering else self._reading.since

    def close_for(self, reason: str) -> None:
        """Close the connection and count it under `reason`."""
        self._connections.observer.closed(reason)
        self.transport.abort()

    def check(self, now: float) -> None:
        """Close the connection if its peer is too slow."""
        overdue = self._overdue(now)
        if overdue is None:
            return
        if overdue is Overdue.HEAD:
            self.refuse(HEAD_TOO_SLOW)
        elif overdue is Overdue.BODY:
            self.refuse(BODY_TOO_SLOW)
        else:
            self._connections.observer.closed(overdue.value)
            if overdue is Overdue.IDLE:
                self.transport.close()
            else:
                self._reset()

    # Internal.

    def _reset(self) -> None:
        """Close at once and discard the kernel's send buffer (SO_LINGER in socket(7)).

        Otherwise the kernel would keep it for minutes for a peer that does not read.
        """
        open_socket = self.transport.get_extra_info("socket")
        if open_socket is not None:
            open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_UNSENT)
        self.transport.abort()

    @property
    def _answering(self) -> bool:
        """Whether a complete request is being answered."""
        return (
            self.cycle is not None
            and not self.cycle.response_complete
            and not self.cycle.disconnected
            and (not self.cycle.more_body or self.cycle.response_started)
        )

    def _overdue(self, now: float) -> Overdue | None:
        waiting = self.transport.get_write_buffer_size()
        growing = self._answering and not self.flow.write_paused
        if self._writing.stalled(now, waiting, growing=growing):
            return Overdue.ANSWER
        if self._lingering_since is not None:
            late = now - self._lingering_since > LINGER_SECONDS and waiting == 0
            return Overdue.LINGER if late else None
        if self._answering or self.flow.read_paused or self.transport.is_closing():
            return None
        return self._reading.overdue(self.meter.phase, now)

    def _unset_keepalive_if_required(self) -> None:
        """Cancel uvicorn's keep-alive timer; declared here for the mixin's type."""
        super()._unset_keepalive_if_required()  # type: ignore[misc]

    def _restart_writing(self) -> None:
        self._writing.restart(self.loop.time(), self.transport.get_write_buffer_size())

    def _feed(self, piece: memoryview) -> None:
        """Pass a piece to the parser, and refuse the request if it is invalid."""
        raise NotImplementedError

    def refuse(self, refusal: Refusal) -> None:
        """Send an error and close; close without one if another answer is being sent."""
        if self._refused:
            return
        self._refused = True
        self._connections.observer.closed(refusal.reason)
        if self._answering or self._lingering_since is not None or self.transport.is_closing():
            self.transport.abort()
            return
        self._give_up_request()
        self.transport.write(_response(refusal, self.server_state.default_headers))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._lingering_since = self.loop.time()
        self._restart_writing()

    def _give_up_request(self) -> None:
        """Signal a disconnect to a route that still waits for the body."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()


class BoundedH11(BoundedConnection, H11Protocol):
    """The protocol with h11, which is always installed."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.conn = _MeteredH11(self.meter)

    def _feed(self, piece: memoryview) -> None:
        H11Protocol.data_received(self, bytes(piece))
        if (
            self.meter.phase is ReadPhase.IDLE
            and self.conn.trailing_data[0]
            and not self._answering
        ):
            self.meter.phase = ReadPhase.HEAD  # h11 reports a head only once it is complete
        if not self._refused:
            try:
                self.meter.fed(len(piece))
            except RequestMeterError:
                self.send_400_response("")


class _MeteredH11(h11.Connection):
    """h11 that reports its events to the meter; h11 itself limits only incomplete events."""

    def __init__(self, meter: RequestMeter) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=meter.config.head_bytes)
        self._meter = meter

    def next_event(self) -> Any:
        """Return h11's next event; raises `h11.RemoteProtocolError` if the meter refuses it too."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                self._meter.refusal = self._meter.refusal or HEAD_TOO_LARGE
            raise
        try:
            self._report(event)
        except RequestMeterError:
            raise h11.RemoteProtocolError("refused") from None
        return event

    def _report(self, event: object) -> None:
        meter = self._meter
        if isinstance(event, h11.Request):
            meter.begin()
            meter.url(len(event.target))
            for name, value in event.headers:
                meter.header(len(name) + len(value))
            meter.head_complete()
        elif isinstance(event, h11.Data):
            meter.body(len(event.data))
        elif isinstance(event, h11.EndOfMessage):
            meter.complete()


def _pieces(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[start : start + SLICE_BYTES] for start in range(0, len(view), SLICE_BYTES))


def _response(refusal: Refusal, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    status = refusal.status
    body = error_body(refusal.message, status=status)
    content = body if isinstance(body, bytes) else body.encode()
    headers = [f"{name.decode()}: {value.decode()}" for name, value in default_headers]
    headers += [f"{name}: {value}" for name, value in (retry_after(status) or {}).items()]
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *headers,
        "content-type: application/json",
        f"content-length: {len(content)}",
        "connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


if TYPE_CHECKING or find_spec("httptools") is not None:
    import httptools
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class BoundedHttpTools(BoundedConnection, HttpToolsProtocol):
        """The protocol with httptools, which is about three times as fast and has no limits."""

        pipeline: Any

        def _feed(self, piece: memoryview) -> None:
            try:
                self.parser.feed_data(piece)
                self.meter.fed(len(piece))
            except httptools.HttpParserUpgrade:
                self.cycle.keep_alive = False  # upgrades are not supported: RFC 9110, 7.8
            except (httptools.HttpParserError, RequestMeterError):
                self.send_400_response("")

        def on_message_begin(self) -> None:
            """Start counting a request."""
            self.meter.begin()
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            """Count a piece of the target."""
            self.meter.url(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            """Count a header; drop trailers, which uvicorn would add to the headers."""
            if self.meter.phase is ReadPhase.HEAD:
                self.meter.header(len(name) + len(value))
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            """Pass the request to a route, or queue it behind the current one."""
            if len(self.pipeline) >= PIPELINED_MAX:
                self.meter.refuse(TOO_MANY_AHEAD)
            self.meter.head_complete()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            """Count a piece of the body."""
            self.meter.body(len(body))
            super().on_body(body)

        def on_message_complete(self) -> None:
            """Mark the request as complete."""
            super().on_message_complete()
            self.meter.complete()
            if not self._refused:
                self._lingering_since = None


def bounded_protocol(open_connections: OpenConnections) -> Any:
    """Return the value for `uvicorn.Config(http=...)`: with httptools if it is installed."""
    kind = BoundedH11 if find_spec("httptools") is None else BoundedHttpTools
    return partial(kind, open_connections=open_connections)
