"""Waiting for something that an engine may die of."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from server.engine.errors import EngineDeadError

T = TypeVar("T")

_POLL_SECONDS = 0.25


async def until(happened: Callable[[], bool]) -> None:
    """Return within a quarter of a second of `happened()`, a flag that another thread sets."""
    while not happened():  # noqa: ASYNC110  (vLLM sets it from a thread and wakes nobody)
        await asyncio.sleep(_POLL_SECONDS)


async def unless(stopped: Callable[[], bool], work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; a dead engine leaves it waiting for ever.

    Raises `EngineDeadError` once `stopped()` and what `work` raises. Cancels `work` with itself.
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
