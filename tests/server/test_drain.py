"""The drain: streams go on until the deadline, not a moment longer, and new work is known of."""

import asyncio

import pytest

from server.drain import Drain


async def _a_long_answer(drain: Drain, *, begins: int) -> None:
    """An answer of 30 s, during which the drain begins (or is told again)."""
    async with drain.bounded():
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
    async with drain.bounded():
        drain.begin()
        assert drain.open_requests == 1
    assert drain.open_requests == 0
