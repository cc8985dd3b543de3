"""Waking whoever waits, without losing a wake that comes while they look."""

import asyncio


class Wakeups:
    """Take a mark, look, and wait for what came after the mark."""

    def __init__(self) -> None:
        self._next: asyncio.Event = asyncio.Event()

    def mark(self) -> asyncio.Event:
        """What the next wake will set."""
        return self._next

    def wake(self) -> None:
        """Wake all that took a mark before."""
        self._next.set()
        self._next = asyncio.Event()


async def until_woken(mark: asyncio.Event, seconds: float) -> None:
    """Return when `mark` is set, or after so long."""
    try:
        async with asyncio.timeout(seconds):
            await mark.wait()
    except TimeoutError:
        return
