"""Retries with exponential backoff and a bounded number of attempts."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

LONGEST_PAUSE = 30.0
"""The longest pause between two attempts, in seconds."""


async def with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    retry_on: type[Exception],
    sleep: Sleep,
    first_pause: float = 0.5,
) -> T:
    """Await `call()` up to `attempts` times and return its result.

    Pauses double from `first_pause` seconds up to `LONGEST_PAUSE`. Raises the error of the last
    attempt unchanged, and any error other than `retry_on` at once.
    """
    for attempt in range(attempts - 1):
        try:
            return await call()
        except retry_on:
            await sleep(min(first_pause * 2**attempt, LONGEST_PAUSE))
    return await call()
