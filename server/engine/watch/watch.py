"""Watches an engine: it has died, or it hangs and is killed for it."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from server.engine.config import EngineConfig
from server.engine.errors import EngineDeadError
from server.engine.watch.watchdog import Liveness, Watchdog

LOOK_SECONDS = 0.5
_GAP_SECONDS = 2.0
_DEATH_SECONDS = 5.0
_HANG_SECONDS = {"cpu": 300.0}
_HANG_SECONDS_ELSEWHERE = 60.0

log = structlog.get_logger()


class Watched(Protocol):
    """The part of an engine that tells whether it lives and moves; see `server.engine.base`."""

    @property
    def steps(self) -> int:
        """Rises with every step."""
        ...

    def busy(self) -> bool:
        """Whether there is work."""
        ...

    async def wait_dead(self) -> None:
        """Return once it has died."""
        ...

    async def probe(self) -> None:
        """Do a small piece of work."""
        ...

    def kill(self) -> None:
        """End its processes at once."""
        ...


def watchdog_for(config: EngineConfig, device: str) -> Watchdog:
    """The decision with the settings' times."""
    default = _HANG_SECONDS.get(device, _HANG_SECONDS_ELSEWHERE)
    return Watchdog(
        hang_seconds=config.hang_seconds or default,
        canary_seconds=config.canary_seconds,
        gap_seconds=_GAP_SECONDS,
    )


class EngineWatch:
    """Looks at an engine every half second, from `wait_dead` on."""

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
        """For how long there has been work for the engine, and no step."""
        return self._watchdog.stalled_seconds

    async def wait_dead(self) -> None:
        """Return once the engine is dead; one that hangs is killed first."""
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
        """Ask for a token; that none comes is seen from outside."""
        try:
            await self._engine.probe()
        except EngineDeadError:
            return
        except Exception as error:  # noqa: BLE001  (an engine that refuses does not hang)
            log.warning("engine_refused_the_probe", error=type(error).__name__)
        self._watchdog.answered()
