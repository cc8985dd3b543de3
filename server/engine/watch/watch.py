"""Watches an engine: notices its death, and kills it if it hangs."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from server.engine.config import EngineConfig
from server.engine.errors import EngineDeadError
from server.engine.watch.watchdog import Liveness, Watchdog

LOOK_SECONDS = 0.5
"""Seconds between two looks at the engine."""
_GAP_SECONDS = 2.0
"""Longest time between two looks that counts; see `Watchdog`."""
_DEATH_SECONDS = 5.0
"""Seconds to wait for the death of an engine that was killed."""
_HANG_SECONDS = {"cpu": 300.0}
_HANG_SECONDS_ELSEWHERE = 60.0
"""Defaults of `engine.hang_seconds` by device."""

log = structlog.get_logger()


class Watched(Protocol):
    """The part of `server.engine.base.Engine` that the watch uses."""

    @property
    def steps(self) -> int:
        """The number of steps so far."""
        ...

    def busy(self) -> bool:
        """Return whether there is work."""
        ...

    async def wait_dead(self) -> None:
        """Return once the engine has died."""
        ...

    async def probe(self) -> None:
        """Generate one token."""
        ...

    def kill(self) -> None:
        """Kill the engine's processes at once."""
        ...


def watchdog_for(config: EngineConfig, device: str) -> Watchdog:
    """Return a watchdog with the times of the settings."""
    default = _HANG_SECONDS.get(device, _HANG_SECONDS_ELSEWHERE)
    return Watchdog(
        hang_seconds=config.hang_seconds or default,
        canary_seconds=config.canary_seconds,
        gap_seconds=_GAP_SECONDS,
    )


class EngineWatch:
    """Checks an engine every `look_seconds` while `wait_dead` runs."""

    def __init__(
        self,
        engine: Watched,
        watchdog: Watchdog,
        *,
        monotonic: Callable[[], float],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._engine = engine
        self._watchdog = watchdog
        self._monotonic = monotonic
        self._look_seconds = look_seconds
        self._canary: asyncio.Task[None] | None = None

    @property
    def stalled_seconds(self) -> float:
        """Seconds for which the engine has had work but made no step."""
        return self._watchdog.stalled_seconds

    async def wait_dead(self) -> None:
        """Return once the engine is dead. Kills an engine that hangs."""
        death = asyncio.ensure_future(self._engine.wait_dead())
        try:
            while not death.done():
                if self._look() is Liveness.HUNG:
                    log.error("engine_hangs", stalled_seconds=round(self.stalled_seconds, 1))
                    self._engine.kill()
                    await asyncio.wait({death}, timeout=_DEATH_SECONDS)
                    return
                await asyncio.wait({death}, timeout=self._look_seconds)
        finally:
            for task in (death, self._canary):
                if task is not None:
                    task.cancel()

    def _look(self) -> Liveness:
        now, steps, busy = self._monotonic(), self._engine.steps, self._engine.busy()
        verdict = self._watchdog.look(now, progress=steps, busy=busy)
        if verdict is Liveness.PROBE:
            if self._canary is not None:
                self._canary.cancel()
            self._canary = asyncio.ensure_future(self._probe())
        return verdict

    async def _probe(self) -> None:
        """Ask for one token. `_look` notices if none comes."""
        try:
            await self._engine.probe()
        except EngineDeadError:
            return
        except Exception as error:  # noqa: BLE001  (an engine that refuses does not hang)
            log.warning("engine_refused_the_probe", error=type(error).__name__)
        self._watchdog.answered()
