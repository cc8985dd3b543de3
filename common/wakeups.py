"""Wakes waiting tasks without losing a wake-up that arrives while a task checks its condition."""

import asyncio


class Wakeups:
    """Wakes all waiters. A waiter takes a mark, checks its condition, then waits for the mark."""

    def __init__(self) -> None:
        self._next: asyncio.Event = asyncio.Event()

    def mark(self) -> asyncio.Event:
        """Return the event that the next `wake` sets."""
        return self._next

    def wake(self) -> None:
        """Wake every task that took a mark before this call."""
        self._next.set()
        self._next = asyncio.Event()


async def until_woken(mark: asyncio.Event, seconds: float) -> None:
    """Return when `mark` is set, or after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await mark.wait()
    except TimeoutError:
        return
