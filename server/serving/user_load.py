"""How many users' answers are in progress, and whether there is capacity for unawaited answers."""

import asyncio
import math
from collections.abc import Callable

from common.retry import Sleep
from server.config import ShadowConfig

Monotonic = Callable[[], float]

LOOK_SECONDS = 0.2
"""Longest pause between two looks of a waiting answer, which nobody waits for."""


class UserLoad:
    """Counts the answers that users wait for. All methods must be called on one event loop.

    Args:
        config: The number of answers in progress that counts as busy, and the seconds for which
            it must not have been reached.
        monotonic: The current time in seconds.
        sleep: Sleeps for a number of seconds.

    """

    def __init__(
        self, config: ShadowConfig, monotonic: Monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._config = config
        self._monotonic = monotonic
        self._sleep = sleep
        self._answers = 0
        self._busy_at = -math.inf

    def began(self) -> None:
        """Count an answer that has started."""
        self._answers += 1
        self._note()

    def ended(self) -> None:
        """Stop counting an answer that has ended."""
        self._note()
        self._answers -= 1

    @property
    def quiet_in(self) -> float:
        """Seconds left of the quiet period; 0 or less if it is over."""
        return self._busy_at + self._config.quiet_seconds - self._monotonic()

    @property
    def light(self) -> bool:
        """Whether few answers are in progress, and have been for the quiet period."""
        return self._answers < self._config.busy_streams and self.quiet_in <= 0

    async def until_light(self) -> None:
        """Wait until the load is light, so that other answers slow no user down.

        With `busy_streams = 0`, which switches shadow answers off, no answer may be in progress.
        """
        while not (self.light or self._idle):
            await self._sleep(min(max(self.quiet_in, 0.01), LOOK_SECONDS))

    @property
    def _idle(self) -> bool:
        return not self._config.busy_streams and not self._answers

    def _note(self) -> None:
        if self._answers >= self._config.busy_streams:
            self._busy_at = self._monotonic()
