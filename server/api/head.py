"""HEAD on every path that has GET: load balancers and monitors ask so (RFC 9110, 9.3.2)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """ASGI middleware: answers HEAD as GET, with its headers and without its body.

    FastAPI's routes have no HEAD of their own (https://github.com/fastapi/fastapi/issues/1773); the
    methods of routes are left alone, or each path would be twice in the API's description.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, a HEAD as a GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answer = _HeadersOnly(receive, send)
        await self._app({**scope, "method": "GET"}, answer.receive, answer.send)


class _HeadersOnly:
    """Ends an answer after its headers; whoever streams a body learns that nobody listens."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._ended = False

    async def receive(self) -> Message:
        """The request's next message, or that the client is gone once it has its headers."""
        return {"type": "http.disconnect"} if self._ended else await self._receive()

    async def send(self, message: Message) -> None:
        """Send the headers, and nothing after them."""
        if message["type"] == "http.response.start":
            await self._send(message)
        elif not self._ended:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b""})
