"""Both engines as hosts of adapters: what is resident, what is in flight, what is refused."""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.names import BASE
from server.engine.base import Engine, EngineCall
from server.engine.errors import AdapterLoadError
from server.engine.fake.engine import FakeEngine
from tests.server.engine.calls import (
    body_of,
    chat,
    choice_text,
    completion,
    events_of,
    fresh_name,
    random_adapter,
    stream_of,
)
from tests.waiting import until

pytestmark = pytest.mark.anyio

Make = Callable[..., EngineCall]
both_endpoints = pytest.mark.parametrize("make", [chat, completion])


async def test_a_stream_is_in_flight_until_it_ends(engine: Engine, version: str) -> None:
    response = await engine.answer(chat(version, stream=True))
    during = engine.in_flight(version)
    await events_of(response)
    assert (during, engine.in_flight(version)) == (1, 0)


async def test_a_stream_that_is_read_to_the_end_needs_no_close(
    engine: Engine, version: str
) -> None:
    async for _ in stream_of(await engine.answer(chat(version, stream=True))):
        pass
    assert engine.in_flight(version) == 0


async def test_a_stream_that_is_never_read_is_counted_out_when_closed(
    engine: Engine, version: str
) -> None:
    stream = stream_of(await engine.answer(chat(version, stream=True)))
    await stream.aclose()
    await stream.aclose()
    assert engine.in_flight(version) == 0


async def test_a_stream_that_is_forgotten_is_counted_out(engine: Engine, version: str) -> None:
    response = await engine.answer(chat(version, stream=True))
    del response
    gc.collect()
    assert engine.in_flight(version) == 0


async def test_a_body_is_not_in_flight_once_it_is_there(engine: Engine, version: str) -> None:
    await engine.answer(chat(version))
    assert engine.in_flight(version) == 0


@both_endpoints
async def test_a_client_that_leaves_makes_the_tap_incomplete(engine: Engine, make: Make) -> None:
    call = make(stream=True, max_tokens=200, ignore_eos=True, stop=["never said"])
    stream = stream_of(await engine.answer(call))
    await anext(stream)
    await stream.aclose()
    assert not call.tap.complete
    assert (await engine.answer(make())).status == 200


async def test_a_cancelled_call_ends_in_the_engine(engine: Engine, version: str) -> None:
    call = chat(version, max_tokens=400, ignore_eos=True, n=8, temperature=1)
    if isinstance(engine, FakeEngine):
        engine.hang()
    task = asyncio.create_task(engine.answer(call))
    await until(lambda: engine.in_flight(version))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not call.tap.complete
    assert engine.in_flight(version) == 0


async def test_a_loaded_version_answers_and_is_resident(engine: Engine, version: str) -> None:
    assert version in engine.resident()
    assert (await engine.answer(chat(version))).status == 200


async def test_three_adapters_and_base_answer_differently_and_only_in_their_own_way(
    engine: Engine, tmp_path: Path, tiny_model: Path
) -> None:
    names = [fresh_name() for _ in range(3)]
    for name in names:
        await engine.load(name, random_adapter(tmp_path / name, tiny_model))
    alone = {name: body_of(await engine.answer(chat(name))) for name in [BASE, *names]}
    together = await asyncio.gather(*(engine.answer(chat(name)) for name in [BASE, *names] * 4))
    texts = {name: choice_text(body["choices"][0]) for name, body in alone.items()}
    assert len(set(texts.values())) == 4
    for body in map(body_of, together):
        assert choice_text(body["choices"][0]) == texts[body["model"].removeprefix("pawl@")]
    for name in names:
        await engine.unload(name)


async def test_an_unloaded_version_answers_no_more(
    engine: Engine, tmp_path: Path, tiny_model: Path
) -> None:
    name = fresh_name()
    await engine.load(name, random_adapter(tmp_path / name, tiny_model))
    await engine.unload(name)
    assert name not in engine.resident()
    assert (await engine.answer(chat(name))).status == 404


async def test_a_version_comes_back_from_its_own_folder(
    engine: Engine, tmp_path: Path, tiny_model: Path
) -> None:
    name, folder = fresh_name(), random_adapter(tmp_path / "adapter", tiny_model)
    await engine.load(name, folder)
    before = body_of(await engine.answer(chat(name)))
    await engine.unload(name)
    await engine.load(name, folder)
    after = body_of(await engine.answer(chat(name)))
    assert after["choices"] == before["choices"]
    await engine.unload(name)


async def test_loading_a_resident_version_again_does_nothing(
    engine: Engine, version: str, tmp_path: Path
) -> None:
    await engine.load(version, tmp_path / version)
    assert version in engine.resident()


async def test_a_name_is_never_given_to_other_weights(
    engine: Engine, version: str, tmp_path: Path, tiny_model: Path
) -> None:
    with pytest.raises(AdapterLoadError, match="another folder"):
        await engine.load(version, random_adapter(tmp_path / "other", tiny_model))


async def test_a_folder_is_never_given_to_another_name(
    engine: Engine, version: str, tmp_path: Path
) -> None:
    with pytest.raises(AdapterLoadError, match="another version"):
        await engine.load(fresh_name(), tmp_path / version)


async def test_the_base_models_name_is_not_for_adapters(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(AdapterLoadError):
        await engine.load(BASE, tmp_path)


async def test_no_more_adapters_than_slots(
    engine: Engine, tmp_path: Path, tiny_model: Path
) -> None:
    names = [fresh_name() for _ in range(engine.slots - len(engine.resident()))]
    for name in names:
        await engine.load(name, random_adapter(tmp_path / name, tiny_model))
    with pytest.raises(AdapterLoadError, match="slots"):
        await engine.load(fresh_name(), random_adapter(tmp_path / "one-more", tiny_model))
    for name in names:
        await engine.unload(name)


async def test_a_bad_adapter_is_refused_and_the_engine_goes_on(
    engine: Engine, version: str, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    bad = fresh_name()
    with pytest.raises(AdapterLoadError):
        await engine.load(bad, tmp_path / "bad")
    assert bad not in engine.resident()
    assert (await engine.answer(chat(version))).status == 200


async def test_unloading_what_is_not_there_does_nothing(engine: Engine) -> None:
    await engine.unload("2026-w01-000000")
    assert engine.alive()
