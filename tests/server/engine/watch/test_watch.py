"""What watches an engine, over the fake one: deaths are seen, hangs become deaths."""

import asyncio

import pytest

from server.engine.base import EngineResponse
from server.engine.config import EngineConfig
from server.engine.errors import EngineDeadError, RequestRefusedError
from server.engine.fake.engine import FakeEngine
from server.engine.watch.watch import EngineWatch, watchdog_for
from server.engine.watch.watchdog import Watchdog
from tests.server.engine.calls import chat, stream_of
from tests.waiting import until

pytestmark = pytest.mark.anyio


class Ticks:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def watch_of(engine: FakeEngine, *, canary_seconds: float = 5) -> EngineWatch:
    watchdog = Watchdog(hang_seconds=10, canary_seconds=canary_seconds, gap_seconds=2)
    return EngineWatch(engine, watchdog, monotonic=Ticks(), look_seconds=0)


async def test_a_death_is_seen() -> None:
    engine = FakeEngine()
    watching = asyncio.create_task(watch_of(engine).wait_dead())
    await asyncio.sleep(0)
    engine.die()
    await watching


async def test_a_hang_under_a_request_kills_the_engine_and_ends_the_stream() -> None:
    engine = FakeEngine()
    stream = stream_of(await engine.answer(chat(stream=True)))
    engine.hang()
    await watch_of(engine).wait_dead()
    assert not engine.alive()
    rest = [event async for event in stream]
    assert rest[-2].startswith('data: {"error"')


async def test_an_idle_engine_that_hangs_is_found_by_the_canary() -> None:
    engine = FakeEngine()
    engine.hang()
    await watch_of(engine).wait_dead()
    assert not engine.alive()


async def test_a_slow_engine_is_left_alone() -> None:
    engine = FakeEngine()
    watch = watch_of(engine)
    watching = asyncio.create_task(watch.wait_dead())
    answers = [asyncio.create_task(engine.answer(chat())) for _ in range(20)]
    await asyncio.gather(*answers)
    assert not watching.done()
    assert engine.alive()
    watching.cancel()


async def test_an_idle_engine_is_probed_again_and_again() -> None:
    engine = FakeEngine()
    watching = asyncio.create_task(watch_of(engine, canary_seconds=2).wait_dead())
    await until(lambda: engine.steps >= 3)
    assert engine.alive()
    watching.cancel()


class RefusingEngine(FakeEngine):
    """Takes no probe, and answers nothing else either."""

    refused = 0

    async def probe(self) -> None:
        self.refused += 1
        raise RequestRefusedError("the queue is full", status=503)


async def test_an_engine_that_refuses_the_probe_does_not_hang() -> None:
    engine = RefusingEngine()
    watching = asyncio.create_task(watch_of(engine).wait_dead())
    await until(lambda: engine.refused >= 5)
    assert engine.alive()
    watching.cancel()


async def test_a_killed_engine_refuses_and_a_waiting_request_fails() -> None:
    engine = FakeEngine()
    engine.hang()
    answer: asyncio.Task[EngineResponse] = asyncio.create_task(engine.answer(chat()))
    await asyncio.sleep(0)
    engine.kill()
    with pytest.raises(EngineDeadError):
        await answer
    with pytest.raises(EngineDeadError):
        await engine.probe()


@pytest.mark.parametrize(("device", "seconds"), [("cpu", 300), ("cuda", 60), ("fake", 60)])
def test_the_default_gives_a_cpu_time_for_its_prefill(device: str, seconds: float) -> None:
    assert watchdog_for(EngineConfig(kind="fake"), device).hang_seconds == seconds


def test_the_setting_wins() -> None:
    config = EngineConfig(kind="fake", hang_seconds=7, canary_seconds=3)
    watchdog = watchdog_for(config, "cpu")
    assert (watchdog.hang_seconds, watchdog.canary_seconds) == (7, 3)
