"""Loads the versions that routes and load requests name, and retries failed loads."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from adapters.cluster.peers import answering, routed
from adapters.errors import AdaptersError
from adapters.ledger import Ledger
from adapters.residency import Residency
from common.clock import Monotonic

_BY_ROUTE = "route:"
"""Prefix of the keys of versions that a route names; other keys are ids of load requests."""


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """Why a load failed, and the monotonic time of the next attempt (None: no further attempt)."""

    why: str
    again_at: float | None


def first_to_try(keys: Iterable[str], failed: Mapping[str, LoadFailure], now: float) -> str | None:
    """Return the first of `keys` that has not failed, else the one whose retry was due first.

    Returns None if no attempt is due at `now`.
    """
    due = dict[str, float]()
    for key in keys:
        failure = failed.get(key)
        if failure is None:
            return key
        if failure.again_at is not None and failure.again_at <= now:
            due[key] = failure.again_at
    return min(due, key=due.__getitem__, default=None)


class Reconciler:
    """Loads missing versions one after the other in a background task, live versions first.

    Versions that failed are retried after all others, so that none waits behind one that cannot be
    loaded. A load request is tried once; `failures` reports the reason to the server that sent it.
    `loaded` is called after each attempt.
    """

    def __init__(
        self,
        ledger: Ledger,
        residency: Residency,
        *,
        retry_seconds: float,
        loaded: Callable[[], None],
        monotonic: Monotonic,
    ) -> None:
        self._ledger = ledger
        self._residency = residency
        self._retry_seconds = retry_seconds
        self._loaded = loaded
        self._monotonic = monotonic
        self._wanted: dict[str, str] = {}
        self._failed: dict[str, LoadFailure] = {}
        self._for_others: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    @property
    def failures(self) -> dict[str, str]:
        """Reasons of failed loads, by load request (or `route:` and the version)."""
        return {key: failure.why for key, failure in self._failed.items()}

    def missing(self) -> list[str]:
        """Return the versions that the routes name and that are not loaded here."""
        loaded = self._residency.loaded()
        return [name for name in routed(self._ledger.routes.values()) if name not in loaded]

    @property
    def spare(self) -> set[str]:
        """Versions that may be unloaded: loaded for another server's request that has ended."""
        return self._for_others - set(self._wanted.values())

    def keep(self, version: str) -> None:
        """Keep `version` loaded even when no other server requests it any more."""
        self._for_others.discard(version)

    def may_catch_up(self) -> bool:
        """Whether a version that receives traffic is missing and may still be loaded."""
        named = answering(self._ledger.routes.values())
        return any(self._next_of([f"{_BY_ROUTE}{name}"]) for name in named & set(self.missing()))

    def begin(self, requests: Mapping[str, str]) -> None:
        """Start to load missing versions in the background; `requests` maps ids to versions."""
        names = routed(self._ledger.routes.values())
        self._for_others -= set(names)
        self._wanted = {f"{_BY_ROUTE}{name}": name for name in names} | dict(requests)
        loaded = self._residency.loaded()
        self._failed = {
            key: failure
            for key, failure in self._failed.items()
            if self._wanted.get(key, "") not in ("", *loaded)
        }
        idle = self._task is None or self._task.done()
        if idle and self._next() is not None:
            self._task = asyncio.create_task(self._run(), name="catching up")

    async def done(self, seconds: float) -> None:
        """Wait until the background task has ended, at most `seconds`."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    async def close(self) -> None:
        """Cancel the background task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while (key := self._next()) is not None:
            await self._load(key, self._wanted[key])
            self._loaded()

    def _next(self) -> str | None:
        loaded = self._residency.loaded()
        return self._next_of(key for key, name in self._wanted.items() if name not in loaded)

    def _next_of(self, keys: Iterable[str]) -> str | None:
        return first_to_try(keys, self._failed, self._monotonic())

    async def _load(self, key: str, name: str) -> None:
        try:
            await self._residency.load(await self._ledger.version(name))
        except AdaptersError as error:
            again_at = self._later() if key.startswith(_BY_ROUTE) else None
            self._failed[key] = LoadFailure(f"{type(error).__name__}: {error}", again_at)
            self._log.error("adapter_not_resident", version=name, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001  (the database or the disk is unavailable: retry later)
            self._failed[key] = LoadFailure(type(error).__name__, self._later())
            self._log.warning("adapter_not_resident", version=name, error=type(error).__name__)
        else:
            self._failed.pop(key, None)
            if not key.startswith(_BY_ROUTE):
                self._for_others.add(name)

    def _later(self) -> float:
        """Return when to retry; counted from the failure, as a load may outlast `retry_seconds`."""
        return self._monotonic() + self._retry_seconds
