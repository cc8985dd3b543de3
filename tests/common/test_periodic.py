"""Something done again and again."""

import asyncio

import pytest

from common.periodic import Ticker

pytestmark = pytest.mark.anyio


class Work:
    """Counts how often it is done, and is done at the third."""

    def __init__(self, *, fails: bool = False) -> None:
        self.times = 0
        self.done = asyncio.Event()
        self._fails = fails

    async def __call__(self) -> None:
        self.times += 1
        if self.times == 3:
            self.done.set()
        if self._fails:
            raise ValueError


@pytest.mark.parametrize("fails", [False, True])
async def test_work_is_done_again_and_again_even_if_it_fails(*, fails: bool) -> None:
    work = Work(fails=fails)
    ticker = Ticker("test", 0.001, work)
    ticker.start()
    await work.done.wait()
    await ticker.finish()
    times = work.times
    await asyncio.sleep(0.01)
    assert work.times == times


async def test_it_ends_only_once_the_work_under_way_is_done() -> None:
    began, may_end = asyncio.Event(), asyncio.Event()
    ended = False

    async def work() -> None:
        nonlocal ended
        began.set()
        await may_end.wait()
        ended = True

    ticker = Ticker("test", 60, work)
    ticker.start()
    await began.wait()
    finishing = asyncio.create_task(ticker.finish())
    await asyncio.sleep(0)
    may_end.set()
    await finishing
    assert ended


async def test_work_that_hangs_does_not_keep_it_from_ending() -> None:
    began, cancelled = asyncio.Event(), False

    async def work() -> None:
        nonlocal cancelled
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    ticker = Ticker("test", 60, work, patience=0.01)
    ticker.start()
    await began.wait()
    async with asyncio.timeout(30):
        await ticker.finish()
    assert cancelled


async def test_one_that_was_never_started_ends_at_once() -> None:
    await Ticker("test", 60, Work()).finish()
