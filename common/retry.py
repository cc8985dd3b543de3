"""Asking again, a bounded number of times, with growing pauses."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

LONGEST_PAUSE = 30.0


async def with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    retry_on: type[Exception],
    sleep: Sleep,
    first_pause: float = 0.5,
) -> T:
    """Await `call()` up to `attempts` times; the last failure is raised as it came.

    Pauses double from `first_pause` seconds up to `LONGEST_PAUSE`. Anything but `retry_on` is
    raised at once.
    """
    for attempt in range(attempts - 1):
        try:
            return await call()
        except retry_on:
            await sleep(min(first_pause * 2**attempt, LONGEST_PAUSE))
    return await call()
