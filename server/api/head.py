"""HEAD on every path that has GET, as load balancers and monitors expect (RFC 9110, 9.3.2)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """ASGI middleware that answers HEAD like GET, but without the body.

    FastAPI's routes do not support HEAD (https://github.com/fastapi/fastapi/issues/1773). Adding
    HEAD to the routes' methods would list each path twice in the OpenAPI schema. This can go once
    FastAPI adds HEAD to its GET routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, turning HEAD into GET."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answer = _HeadersOnly(receive, send)
        await self._app({**scope, "method": "GET"}, answer.receive, answer.send)


class _HeadersOnly:
    """Ends a response after its headers, and signals a disconnect to a streaming route."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._ended = False

    async def receive(self) -> Message:
        """Return the request's next message, or a disconnect once the headers are sent."""
        return {"type": "http.disconnect"} if self._ended else await self._receive()

    async def send(self, message: Message) -> None:
        """Send the headers and an empty body."""
        if message["type"] == "http.response.start":
            await self._send(message)
        elif not self._ended:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b""})
