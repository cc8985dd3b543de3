"""Comparisons that stream, fail on the way, or are left: both sides, whole and apart."""

import asyncio
import json
from itertools import count
from typing import Any

import pytest

from adapters.ports import AdapterHost
from server.engine.base import EngineCall, EngineResponse
from server.engine.fake.engine import FakeEngine
from tests.server.comparing import PATH, compare, events, ids_of, recorded
from tests.server.running_app import RunningApp
from tests.server.serving.test_disconnect import SCOPE, Caller, statuses
from tests.server.serving.test_last_byte import database_of, locked, rows
from tests.waiting import until

pytestmark = pytest.mark.anyio


async def test_both_sides_stream_at_once(running: RunningApp, canary: str) -> None:
    running.engine.faults.token_delay_seconds = 0.001
    found = events((await compare(running, stream=True)).text)
    order = "".join(event["side"] for event in found)
    assert set(order[:4]) == {"a", "b"}
    for side in "ab":
        chunks = [event["chunk"] for event in found if event["side"] == side]
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_the_end_waits_for_both_rows(
    running: RunningApp, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.services.serving, "_commit_wait", 60)
    for stream in (False, True):
        with locked(database_of(running)):
            asked = asyncio.ensure_future(compare(running, stream=stream))
            await until(lambda: running.services.recorder.depth == 2)
            assert not asked.done()
        identifiers = ids_of(await asked)
        stored = recorded(running, "status")
        assert [stored[one] for one in identifiers] == ["complete", "complete"]


async def test_a_side_that_fails_on_the_way_says_so_and_the_other_goes_on(
    running: RunningApp, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = FakeEngine.answer

    async def cut_off(engine: FakeEngine, call: EngineCall) -> EngineResponse:
        response = await answer(engine, call)
        if call.version == canary and response.stream is not None:
            response.stream = Broken(response.stream)
        return response

    monkeypatch.setattr(FakeEngine, "answer", cut_off)
    response = await compare(running, stream=True)
    found = events(response.text)
    (failed,) = [event for event in found if "error" in event]
    assert canary not in json.dumps(failed)
    (*_, last) = [event["chunk"] for event in found if event["side"] != failed["side"]]
    assert last["choices"][0]["finish_reason"] == "stop"
    states = dict(rows(database_of(running), "SELECT version, status FROM interaction"))
    assert states == {"base": "complete", canary: "failed"}


class Broken:
    """A stream that fails after its first event."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._places = stream, count()

    def __aiter__(self) -> "Broken":
        return self

    async def __anext__(self) -> str:
        place = next(self._places)
        if place == 0:
            first: str = await anext(self._stream)
            return first
        if place == 1:
            return 'data: {"error": {"message": "no"}}\n\n'
        return "data: [DONE]\n\n"

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dead_engine_fails_both(running: RunningApp, canary: str, stream: bool) -> None:
    running.engine.die()
    answer = await compare(running, stream=stream)
    assert answer.status_code == 503
    await until(lambda: not running.services.recorder.depth)
    assert set(recorded(running, "status").values()) <= {"failed", "aborted"}
    assert len(recorded(running, "status")) == 2


async def test_a_side_that_is_refused_alone_does_not_tell_why(
    running: RunningApp, canary: str
) -> None:
    running.engine._resident.discard(canary)
    running.services.comparisons._engine = _Believing(running.engine, canary)
    answer = await compare(running)
    assert answer.status_code == 503
    assert canary not in answer.text
    assert running.engine.in_flight("base") == 0


class _Believing:
    """An engine whose version goes between the choice and the answer."""

    def __init__(self, engine: AdapterHost, version: str) -> None:
        self._engine, self._version = engine, version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def resident(self) -> frozenset[str]:
        return self._engine.resident() | {self._version}


class Comparer(Caller):
    """A caller of comparisons."""

    def __init__(self, running: RunningApp, **fields: Any) -> None:
        scope = {**SCOPE, "path": PATH, "raw_path": PATH.encode()}
        super().__init__(running, scope=scope, **fields)


async def test_a_client_that_leaves_stops_both_streams(running: RunningApp, canary: str) -> None:
    running.engine.faults.token_delay_seconds = 0.01
    caller = Comparer(running, stream=True)
    await until(lambda: len(caller.chunks) >= 4)
    running.engine.hang()
    caller.gone.set()
    await caller.task
    assert (running.engine.in_flight("base"), running.engine.in_flight(canary)) == (0, 0)
    assert b"[DONE]" not in b"".join(caller.chunks)
    assert [status for status, _ in await statuses(running)] == ["aborted", "aborted"]


async def test_a_client_that_leaves_before_the_answers_stops_both(
    running: RunningApp, canary: str
) -> None:
    running.engine.hang()
    caller = Comparer(running)
    engine = running.engine
    await until(lambda: engine.in_flight("base") == engine.in_flight(canary) == 1)
    caller.gone.set()
    await caller.task
    assert (engine.in_flight("base"), engine.in_flight(canary)) == (0, 0)
    assert await statuses(running) == [("aborted", 0), ("aborted", 0)]


async def test_a_drain_ends_both_sides_with_an_error(running: RunningApp, canary: str) -> None:
    running.engine.faults.token_delay_seconds = 0.01
    caller = Comparer(running, stream=True)
    await until(lambda: len(caller.chunks) >= 2)
    running.engine.hang()
    for _ in range(2):
        running.services.drain.begin()
    await caller.task
    found = events(b"".join(caller.chunks).decode())
    assert {event["side"] for event in found if "error" in event} == {"a", "b"}
    assert (await compare(running)).status_code == 503
