"""Waits for what tells nobody. Each has an end of its own: the test fails there.

The alarm of pytest-timeout may end a task of the event loop in place of the test.
"""

import asyncio
from collections.abc import Awaitable, Callable

SECONDS = 30.0
"""Less than a test may last."""
PAUSE_SECONDS = 0.01


async def until(happened: Callable[[], object], *, seconds: float = SECONDS) -> None:
    """Return once it has happened. Raises TimeoutError."""

    async def has_happened() -> object:
        return happened()

    await eventually(has_happened, seconds=seconds)


async def eventually(holds: Callable[[], Awaitable[object]], *, seconds: float = SECONDS) -> None:
    """Ask until it is so. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110  (whoever waits here can be told by nobody)
            await asyncio.sleep(PAUSE_SECONDS)
