"""What only the fake engine has: faults on demand, and answers that tell who spoke."""

import asyncio
from pathlib import Path

import pytest

from adapters.names import BASE
from server.engine.errors import AdapterLoadError, EngineDeadError
from server.engine.fake.answer import sentinel
from server.engine.fake.engine import FakeEngine
from tests.server.engine.calls import body_of, chat, choice_text, events_of, stream_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


async def test_an_answer_begins_with_its_versions_sentinel(engine: FakeEngine) -> None:
    body = body_of(await engine.answer(chat()))
    assert choice_text(body["choices"][0]).startswith(sentinel(BASE))


async def test_a_dead_engine_answers_nothing(engine: FakeEngine) -> None:
    engine.die()
    await engine.wait_dead()
    assert not engine.alive()
    with pytest.raises(EngineDeadError):
        await engine.answer(chat())
    assert engine.in_flight(BASE) == 0


async def test_a_stream_ends_with_an_error_when_the_engine_dies(engine: FakeEngine) -> None:
    call = chat(stream=True)
    stream = stream_of(await engine.answer(call))
    await anext(stream)
    engine.die()
    rest = [event async for event in stream]
    assert rest[-2].startswith('data: {"error"')
    assert rest[-1] == "data: [DONE]\n\n"
    assert not call.tap.complete
    assert engine.in_flight(BASE) == 0


async def test_a_call_fails_when_the_engine_dies_under_it(engine: FakeEngine) -> None:
    engine.hang()
    task = asyncio.create_task(engine.answer(chat()))
    await asyncio.sleep(0)
    engine.die()
    with pytest.raises(EngineDeadError):
        await task


async def test_a_hanging_engine_does_not_answer_its_probe(engine: FakeEngine) -> None:
    engine.hang()
    probe = asyncio.create_task(engine.probe())
    await asyncio.sleep(0.01)
    assert (probe.done(), engine.busy(), engine.steps) == (False, True, 0)
    engine.resume()
    await probe
    assert (engine.busy(), engine.steps) == (False, 1)


async def test_an_engine_whose_client_reads_no_further_is_not_busy(engine: FakeEngine) -> None:
    stream = stream_of(await engine.answer(chat(stream=True)))
    await anext(stream)
    assert (engine.busy(), engine.in_flight(BASE)) == (False, 1)
    await stream.aclose()


async def test_adapters_are_refused_when_told_so(engine: FakeEngine) -> None:
    engine.faults.refuse_adapters = True
    with pytest.raises(AdapterLoadError):
        await engine.load("2026-w47-abcdef", Path("nowhere"))


async def test_a_closed_engine_is_not_a_dead_one(engine: FakeEngine) -> None:
    death = asyncio.create_task(engine.wait_dead())
    await engine.close()
    await engine.close()
    await asyncio.sleep(0)
    assert not death.done()
    assert not engine.alive()
    death.cancel()


async def test_a_stream_in_flight_ends_when_the_engine_is_closed(engine: FakeEngine) -> None:
    response = await engine.answer(chat(stream=True))
    await engine.close()
    events = await events_of(response)
    assert "error" in events[-1]


async def test_it_says_what_it_cannot_do(engine: FakeEngine) -> None:
    response = await engine.answer(chat(logprobs=True))
    assert (response.status, body_of(response)["error"]["param"]) == (400, "logprobs")
