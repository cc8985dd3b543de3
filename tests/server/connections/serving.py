"""A small app behind Pawl's HTTP protocols, on a real socket and on the product's event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from server.config import HttpConfig
from server.connections.admission import ConnectionObserver, OpenConnections
from server.connections.protocol import BoundedH11, BoundedHttpTools

PARSERS = {"h11": BoundedH11, "httptools": BoundedHttpTools}
LARGE = 20_000_000


@dataclass(slots=True)
class Seen(ConnectionObserver):
    """Why connections were closed."""

    reasons: list[str] = field(default_factory=list)

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)

    def count_with(self, count: Callable[[], int]) -> None:
        del count


@dataclass(slots=True)
class App:
    """Answers by path. `bodies` has the bodies it read; `left` is set when a client disconnects."""

    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    going_on: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        answers: dict[str, Callable[..., Awaitable[None]]] = {
            "/early": self._early,
            "/large": self._large,
            "/slow": self._slow,
        }
        await answers.get(scope["path"], self._read)(receive, send)

    async def _read(self, receive: Receive, send: Send) -> None:
        """Read the body, then answer with its size."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        await _answer(send, 200, str(len(body)).encode())

    async def _early(self, receive: Receive, send: Send) -> None:
        """Answer without reading the body."""
        del receive
        await _answer(send, 413, b"too large")

    async def _large(self, receive: Receive, send: Send) -> None:
        del receive
        await _answer(send, 200, b"a" * LARGE)

    async def _slow(self, receive: Receive, send: Send) -> None:
        """Start to answer, and finish when `going_on` is set."""
        del receive
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await self.going_on.wait()
        await send({"type": "http.response.body", "body": b"b"})


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(slots=True)
class Client:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Send until the server stops reading."""
        try:
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
        except ConnectionError:
            return

    async def status(self) -> int | None:
        """Return the status of the next answer; None if the connection ended without one."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")]
        if length:
            await self.reader.readexactly(int(length[0].split(b":")[1]))
        return int(head.split(b" ", 2)[1])

    async def closed(self) -> None:
        """Wait until the server has closed the connection."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            return


@dataclass(slots=True)
class Served:
    """A listening server."""

    port: int
    app: App
    connections: OpenConnections
    seen: Seen
    clients: list[Client] = field(default_factory=list)

    async def connect(self, **options: Any) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self.clients.append(client)
        return client

    async def counted(self, number: int) -> None:
        """Wait until the server counts `number` connections."""
        async with asyncio.timeout(20):
            while len(self.connections) != number:  # noqa: ASYNC110  (the product sets no event)
                await asyncio.sleep(0.001)

    def after(self, seconds: float) -> None:
        """Check for slow peers as if `seconds` had passed."""
        self.connections.sweep(asyncio.get_running_loop().time() + seconds)


@asynccontextmanager
async def serving(parser: str, **http: Any) -> AsyncIterator[Served]:
    """Serve an `App` with that parser and these settings of `server.http`."""
    app, seen = App(), Seen()
    connections = OpenConnections(HttpConfig(**http), seen)
    kind = partial(PARSERS[parser], open_connections=connections)
    config = uvicorn.Config(app, http=kind, ws="none", log_config=None, lifespan="off")  # type: ignore[arg-type]  # called as a class
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: kind(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    served = Served(server.sockets[0].getsockname()[1], app, connections, seen)
    try:
        yield served
    finally:
        app.going_on.set()
        for client in served.clients:
            client.writer.close()
        server.close()


def head(line: bytes = b"POST / HTTP/1.1", *headers: bytes) -> bytes:
    """A request's head."""
    return b"\r\n".join([line, b"Host: localhost", *headers, b"", b""])
