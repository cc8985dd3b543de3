"""Loads verified versions into the engine, and unloads them once their requests have ended."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from adapters.config import AdaptersConfig
from adapters.errors import AdapterRefusedError, CorruptArtifactError, NoFreeSlotError
from adapters.models import Version
from adapters.ports import AdapterHost, RegistryObserver
from adapters.store.artifacts import Artifacts
from common.clock import Monotonic

Sleep = Callable[[float], Awaitable[None]]
Wanted = Callable[[], Mapping[str, str]]
"""Returns the versions that must not be unloaded to free a slot, with their states."""


class Residency:
    """Loads and unloads versions: one load after the other, no more than the engine has slots."""

    def __init__(
        self,
        host: AdapterHost,
        store: Artifacts,
        config: AdaptersConfig,
        observer: RegistryObserver,
        wanted: Wanted,
        *,
        sleep: Sleep,
        monotonic: Monotonic,
    ) -> None:
        self._host = host
        self._store = store
        self._config = config
        self._observer = observer
        self._wanted = wanted
        self._sleep = sleep
        self._monotonic = monotonic
        self._loading = asyncio.Lock()
        self._drains: dict[str, asyncio.Task[None]] = {}
        self._late: set[str] = set()
        self._log = structlog.get_logger()

    def resident(self) -> frozenset[str]:
        """Return the versions that are loaded, including those being unloaded."""
        return self._host.resident()

    def loaded(self) -> frozenset[str]:
        """Return the versions that are loaded and not being unloaded."""
        return self._host.resident() - self._drains.keys()

    def leaving(self) -> frozenset[str]:
        """Return the versions being unloaded, and unloaded ones that still have requests."""
        self._late = {name for name in self._late if self._host.in_flight(name)}
        return frozenset(self._late) | (self._host.resident() & self._drains.keys())

    async def load(self, version: Version) -> None:
        """Load `version`; return at once if it is loaded, even during another load.

        Raises `NoFreeSlotError`, `ArtifactError` or `AdapterRefusedError`; then the loaded versions
        are unchanged.
        """
        while version.name not in self.loaded():
            await self._end_of_drain(
                version.name
            )  # before taking the lock, so that other loads do not wait
            async with self._loading:
                if version.name in self._host.resident() | self._drains.keys():
                    continue  # it was loaded, or is being unloaded again
                await self._verify(version)
                await self._make_room(version.name)
                await self._host_load(version)
                return

    async def drain(self, version: str) -> None:
        """Unload `version` once it has no requests, at the latest at the drain deadline.

        Requests that are still running then are finished by the engine from the files.
        """
        if version not in self._host.resident():
            return
        await asyncio.shield(self.drain_later(version))

    def drain_later(self, version: str) -> asyncio.Task[None]:
        """Start to drain `version`, or return the drain in progress."""
        task = self._drains.get(version)
        if task is None:
            task = asyncio.create_task(self._drain(version), name=f"drain {version}")
            self._drains[version] = task
            task.add_done_callback(lambda done: self._drain_ended(version, done))
        return task

    async def close(self) -> None:
        """Cancel the drains in progress: the engine is about to stop."""
        tasks = list(self._drains.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _verify(self, version: Version) -> None:
        try:
            await asyncio.to_thread(self._store.verify, version)
        except CorruptArtifactError:
            self._observer.load_failed(version.name)
            self._log.error("adapter_files_damaged", version=version.name, channel=version.channel)
            raise

    async def _make_room(self, incoming: str) -> None:
        """Unload versions that are not needed until a slot is free."""
        while len(self._host.resident()) >= self._host.slots:
            wanted = self._wanted()
            unwanted = sorted(self._host.resident() - wanted.keys())
            if not unwanted:
                held = {name: wanted[name] for name in self._host.resident()}
                raise NoFreeSlotError(incoming, self._host.slots, held)
            await asyncio.wait({self.drain_later(unwanted[0])})
            if unwanted[0] in self._host.resident():
                raise AdapterRefusedError(incoming, f"{unwanted[0]} could not be unloaded for it.")

    async def _host_load(self, version: Version) -> None:
        try:
            async with asyncio.timeout(self._config.load_timeout_seconds):
                await self._host.load(version.name, self._store.path(version))
        except Exception as error:
            self._observer.load_failed(version.name)
            kind = type(error).__name__
            self._log.exception("adapter_load_failed", version=version.name, error=kind)
            raise AdapterRefusedError(version.name, str(error) or kind) from error
        self._log.info("adapter_loaded", version=version.name, channel=version.channel)

    async def _end_of_drain(self, version: str) -> None:
        task = self._drains.get(version)
        if task is not None:
            await asyncio.wait({task})

    async def _drain(self, version: str) -> None:
        in_time = await self._is_quiet(version)
        if not in_time:
            self._log.warning(
                "adapter_drain_deadline", version=version, in_flight=self._host.in_flight(version)
            )
            self._late.add(version)
        await self._host.unload(version)
        self._observer.drained(version, in_time=in_time)
        self._log.info("adapter_unloaded", version=version)

    async def _is_quiet(self, version: str) -> bool:
        """Wait until `version` has had no requests for `drain_quiet_seconds`.

        Return false if requests are still running at the drain deadline.
        """
        began = quiet_since = self._monotonic()
        while True:
            now = self._monotonic()
            if self._host.in_flight(version):
                quiet_since = now
            elif now - quiet_since >= self._config.drain_quiet_seconds:
                return True
            if now - began >= self._config.drain_deadline_seconds:
                return not self._host.in_flight(version)
            await self._sleep(self._config.drain_poll_seconds)

    def _drain_ended(self, version: str, task: asyncio.Task[None]) -> None:
        self._drains.pop(version, None)
        if not task.cancelled() and task.exception() is not None:
            self._log.error(
                "adapter_unload_failed", version=version, error=type(task.exception()).__name__
            )
