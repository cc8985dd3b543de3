"""A registry with a clock, a database and an engine that a test controls."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict

import pytest

from adapters.config import AdaptersConfig
from adapters.models import Version
from adapters.ports import RegistryObserver
from adapters.service import Registry
from adapters.store.local import ArtifactStore
from adapters.vetting.base_model import BaseModelInfo
from common.database import Database
from tests.adapters.adapter_files import BASE, make_adapter
from tests.adapters.fake_host import FakeHost

START = datetime(2026, 11, 21, tzinfo=UTC)


class Who(TypedDict):
    actor: str
    reason: str


WHO: Who = {"actor": "admin", "reason": "a test"}


class HandClock:
    """A clock that advances only with `sleep` or when a test moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@dataclass
class RecordingObserver(RegistryObserver):
    """Records all calls."""

    epochs: list[tuple[str, int, str]] = field(default_factory=list)
    swaps: list[tuple[str, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    fallbacks: list[tuple[str, str, str]] = field(default_factory=list)
    drains: list[tuple[str, bool]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def route_changed(self, channel: str, epoch: int, live: str) -> None:
        self.changed.set()
        self.epochs.append((channel, epoch, live))

    def swapped(self, channel: str, seconds: float) -> None:
        self.swaps.append((channel, seconds))

    def load_failed(self, version: str) -> None:
        self.failed.append(version)

    def fell_back(self, channel: str, version: str, serving: str) -> None:
        self.fallbacks.append((channel, version, serving))

    def drained(self, version: str, *, in_time: bool) -> None:
        self.drains.append((version, in_time))


class HeldLoads:
    """Makes the engine's loads wait until `go_on` is set; `begun` is set when one waits."""

    def __init__(self, world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self._load = world.host.load
        monkeypatch.setattr(world.host, "load", self.load)

    async def load(self, version: str, path: Path) -> None:
        self.begun.set()
        await self.go_on.wait()
        await self._load(version, path)


class World:
    """One data folder and database; `restart` simulates a new process on them."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.clock = HandClock()
        self.config = AdaptersConfig(drain_deadline_seconds=5, drain_quiet_seconds=1)
        self.root = folder / "adapters"
        self.store = ArtifactStore(self.root)
        self.seeds = 0
        self.make()

    def make(self, *, slots: int = 4, base: BaseModelInfo = BASE) -> None:
        """Create a registry that is not started, on an empty engine."""
        self.host = FakeHost(slots)
        self.observer = RecordingObserver()
        self.registry = Registry(
            self.database,
            self.host,
            self.store,
            self.clock.now,
            self.config,
            base,
            self.observer,
            sleep=self.clock.sleep,
            monotonic=self.clock.monotonic,
        )

    async def restart(self, *, slots: int = 4, base: BaseModelInfo = BASE) -> None:
        """Simulate another process on the same files."""
        await self.registry.close()
        self.make(slots=slots, base=base)
        await self.registry.start()

    def adapter(self, seed: int | None = None) -> Path:
        """Write an adapter's folder; without `seed` the weights differ each time."""
        self.seeds += 1
        folder = self.folder / "trained" / str(self.seeds)
        return make_adapter(folder, 1000 + self.seeds if seed is None else seed)

    async def add(self, channel: str = "pawl", *, parent: str | None = None) -> Version:
        """A new candidate."""
        return await self.registry.add(
            self.adapter(), channel=channel, actor="admin", slot="2026-w47", parent=parent
        )

    async def promoted(self, channel: str = "pawl") -> str:
        """Add a version, make it live and return its name."""
        version = await self.add(channel)
        await self.registry.promote(version.name, **WHO)
        return version.name

    async def state(self, version: str) -> str:
        """Return the version's state in the database."""
        return (await self.registry.version(version)).state

    async def settled(self) -> None:
        """Wait for background drains to end."""
        for _ in range(500):
            await asyncio.sleep(0)

    def spoil(self, version: str) -> None:
        """Change a byte of the version's weights."""
        path = self.root / "pawl" / version / "adapter_model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
