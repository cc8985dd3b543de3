"""CORS: allows web pages of the listed origins to send feedback from a browser, nothing else."""

import re
from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_PATH = re.compile(r"/v1/feedback(/.*)?")
_REMEMBERED_SECONDS = 600


class FeedbackCors:
    """ASGI middleware that applies `CORSMiddleware` to the feedback paths only."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._feedback = CORSMiddleware(
            app,
            allow_origins=list(origins),
            allow_methods=["POST", "DELETE"],
            allow_headers=["authorization", "content-type"],
            max_age=_REMEMBERED_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, through `CORSMiddleware` if it is for a feedback path."""
        here = scope["type"] == "http" and _PATH.fullmatch(scope["path"])
        await (self._feedback if here else self._app)(scope, receive, send)
