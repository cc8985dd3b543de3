"""Waits that end if the engine dies."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from server.engine.errors import EngineDeadError

T = TypeVar("T")

_POLL_SECONDS = 0.25


async def until(happened: Callable[[], bool]) -> None:
    """Return within a quarter of a second after `happened()`, set by another thread, is true."""
    while not happened():  # noqa: ASYNC110  (vLLM sets its flag from a thread and signals no event)
        await asyncio.sleep(_POLL_SECONDS)


async def unless(stopped: Callable[[], bool], work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, which would never end if the engine died.

    Raises what `work` raises, and `EngineDeadError` once `stopped()` is true. Cancelling this call
    cancels `work`.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(until(stopped))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise EngineDeadError
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
