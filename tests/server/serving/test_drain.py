"""The drain: streams go on until the deadline, not a moment longer, and new work is known of."""

import asyncio

import pytest

from server.serving.drain import Drain


async def _a_long_answer(drain: Drain, *, begins: int, yields: bool = False) -> None:
    """An answer of 30 s, during which the drain begins (or is told again)."""
    async with drain.bounded(yields=yields):
        for _ in range(begins):
            drain.begin()
        await asyncio.sleep(30)


@pytest.mark.anyio
async def test_nothing_ends_before_the_drain_begins() -> None:
    drain = Drain(seconds=0)
    async with drain.bounded():
        await asyncio.sleep(0)
    assert not drain.draining


@pytest.mark.anyio
async def test_open_requests_end_at_the_deadline() -> None:
    drain = Drain(seconds=0)
    with pytest.raises(TimeoutError):
        await _a_long_answer(drain, begins=1)


@pytest.mark.anyio
async def test_a_second_begin_ends_at_once() -> None:
    drain = Drain(seconds=3600)
    with pytest.raises(TimeoutError):
        await _a_long_answer(drain, begins=2)


@pytest.mark.anyio
async def test_what_finishes_in_time_is_left_alone() -> None:
    drain = Drain(seconds=3600)
    ended = False
    async with drain.bounded():
        drain.begin()
        await asyncio.sleep(0)
        ended = True
    assert ended
    assert drain.open_requests == 0


@pytest.mark.anyio
async def test_what_yields_ends_as_soon_as_the_drain_begins() -> None:
    drain = Drain(seconds=3600)
    with pytest.raises(TimeoutError):
        await _a_long_answer(drain, begins=1, yields=True)


@pytest.mark.anyio
async def test_what_yields_does_not_begin_any_more() -> None:
    drain = Drain(seconds=3600)
    drain.begin()
    with pytest.raises(TimeoutError):
        await _a_long_answer(drain, begins=0, yields=True)


@pytest.mark.anyio
async def test_it_is_over_when_the_last_request_is_let_go() -> None:
    drain = Drain(seconds=3600)
    drain.hold()
    drain.hold()
    over = asyncio.create_task(drain.finished())
    for _ in range(2):
        drain.begin()
        await asyncio.sleep(0)
        assert not over.done()
        drain.release()
    await over


@pytest.mark.anyio
async def test_a_request_that_never_ends_does_not_hold_the_end_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.serving.drain.LAST_EVENTS_SECONDS", 0)
    drain = Drain(seconds=0)
    drain.hold()
    drain.begin()
    await drain.finished()


@pytest.mark.anyio
async def test_a_second_begin_reaches_all_while_one_is_on_its_way_out() -> None:
    drain = Drain(seconds=3600)

    async def ours() -> None:
        async with drain.bounded(yields=True):
            try:
                await asyncio.sleep(30)
            finally:
                drain.begin()

    ends = [asyncio.create_task(ours()), asyncio.create_task(_a_long_answer(drain, begins=1))]
    async with asyncio.timeout(10):
        told = await asyncio.gather(*ends, return_exceptions=True)
    assert [type(one) for one in told] == [TimeoutError, TimeoutError]
