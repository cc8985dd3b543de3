"""Clients that go away: the engine is told, the row says so, nothing stays in flight."""

import asyncio
import json
from typing import Any

import pytest

from tests.server.api.test_chat import CHAT
from tests.server.running_app import RunningApp, chat_body
from tests.server.serving.test_last_byte import database_of, rows
from tests.waiting import until

pytestmark = pytest.mark.anyio

SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": CHAT,
    "raw_path": CHAT.encode(),
    "query_string": b"",
    "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")],
    "server": ("127.0.0.1", 80),
    "client": ("127.0.0.1", 1),
}


class Caller:
    """Somebody who asks and may hang up, on the app itself."""

    def __init__(
        self, running: RunningApp, *, scope: dict[str, Any] = SCOPE, **fields: Any
    ) -> None:
        self._content = json.dumps(chat_body(**fields)).encode()
        self._sent = False
        self.gone = asyncio.Event()
        self.chunks: list[bytes] = []
        self.task = asyncio.ensure_future(running.app(dict(scope), self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": self._content, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message.get("body"):
            self.chunks.append(message["body"])


async def statuses(running: RunningApp) -> list[Any]:
    await until(lambda: not running.services.recorder.depth)
    query = "SELECT status, completion_tokens > 0 FROM interaction"
    return rows(database_of(running), query)


async def test_a_stream_that_nobody_reads_any_more_is_aborted(running: RunningApp) -> None:
    running.engine.faults.token_delay_seconds = 0.01
    caller = Caller(running, stream=True)
    await until(lambda: len(caller.chunks) >= 2)
    running.engine.hang()
    caller.gone.set()
    await caller.task
    assert running.engine.in_flight("base") == 0
    assert b"[DONE]" not in b"".join(caller.chunks)
    assert await statuses(running) == [("aborted", 1)]


async def test_an_answer_that_nobody_waits_for_any_more_is_aborted(running: RunningApp) -> None:
    running.engine.hang()
    caller = Caller(running)
    await until(lambda: running.engine.in_flight("base") == 1)
    caller.gone.set()
    await caller.task
    assert running.engine.in_flight("base") == 0
    assert await statuses(running) == [("aborted", 0)]


async def test_a_stream_that_is_cancelled_is_aborted(running: RunningApp) -> None:
    """As uvicorn does with what is left when its patience ends."""
    running.engine.faults.token_delay_seconds = 0.01
    caller = Caller(running, stream=True)
    await until(lambda: len(caller.chunks) >= 2)
    running.engine.hang()
    caller.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller.task
    assert running.engine.in_flight("base") == 0
    assert await statuses(running) == [("aborted", 1)]


async def test_whoever_leaves_does_not_disturb_the_others(running: RunningApp) -> None:
    running.engine.faults.token_delay_seconds = 0.01
    leaver, stayer = Caller(running, stream=True), Caller(running, stream=True)
    await until(lambda: len(leaver.chunks) >= 2)
    leaver.gone.set()
    await asyncio.gather(leaver.task, until(lambda: b"[DONE]" in b"".join(stayer.chunks)))
    stayer.gone.set()
    await stayer.task
    found = await statuses(running)
    assert sorted(status for status, _ in found) == ["aborted", "complete"]
