"""Streams that are open during a fault of the server, and how each of them ended."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import aiohttp

_PATH = "/v1/chat/completions"


class End(Enum):
    """How a request ended for its client."""

    FINISHED = "finished"
    TOLD = "told"
    """An error event, then `[DONE]`."""
    REFUSED = "refused"
    """503 with `Retry-After`, before anything was streamed."""
    UNREACHED = "unreached"
    """No connection was made."""
    BROKEN = "broken"
    """The connection broke during the answer, or the answer ended in another way."""


@dataclass(slots=True)
class OpenStream:
    """One streaming request. Times are `time.perf_counter()` seconds."""

    body: Mapping[str, Any]
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Its first event was read, or it has ended without one."""
    id: str = ""
    version: str = ""
    end: End = End.BROKEN
    told_at: float | None = None
    ended_at: float = 0.0
    _finished: bool = False

    async def follow(self, session: aiohttp.ClientSession) -> "OpenStream":
        """Send the request and read the answer to its end."""
        try:
            async with session.post(_PATH, json=self.body) as response:
                await self._read(response)
        except aiohttp.ClientConnectorError:
            self.end = End.UNREACHED
        except (aiohttp.ClientError, TimeoutError):
            self.end = End.BROKEN
        self.ended_at = time.perf_counter()
        self.begun.set()
        return self

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        self.id = response.headers.get("x-pawl-interaction", "")
        self.version = response.headers.get("x-pawl-version", "")
        if response.status != 200:
            refused = response.status == 503 and "retry-after" in response.headers
            self.end = End.REFUSED if refused else End.BROKEN
            return
        async for line in response.content:
            data = line.removeprefix(b"data: ").strip()
            if data == b"[DONE]":
                self._note_done()
            elif data:
                self._take(json.loads(data))

    def _take(self, event: Mapping[str, Any]) -> None:
        if "error" in event:
            self.told_at = time.perf_counter()
        else:
            self._finished |= any(one.get("finish_reason") for one in event["choices"])
        self.begun.set()

    def _note_done(self) -> None:
        if self.told_at is not None:
            self.end = End.TOLD
        elif self._finished:
            self.end = End.FINISHED
