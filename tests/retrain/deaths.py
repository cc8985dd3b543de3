"""Simulates processes that die at any durable effect of a run, and the processes after them.

Registry, files and database are real; the trainer writes its adapter within the process.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.config import AdaptersConfig
from adapters.ports import RegistryObserver
from adapters.service import Registry
from adapters.store.local import ArtifactStore
from retrain.run.context import RunEnvironment
from retrain.service import RunService
from retrain.trainer.events import Event, Saved
from server.database.database import Database
from tests.adapters.adapter_files import BASE, make_adapter
from tests.adapters.fake_host import FakeHost
from tests.retrain.log import TENANT
from tests.retrain.world import SATURDAY, FakeChat, House, week


class DeathError(BaseException):
    """The simulated death of the process, which the product must not catch."""


class Fate:
    """Counts durable effects and lets the process die at a chosen one."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.met: list[str] = []

    def effect(self, name: str) -> None:
        """Count the moment just before or after a durable effect."""
        if self.left is None:
            return
        self.met.append(name)
        self.left -= 1
        if self.left == 0:
            raise DeathError(name)


class MortalDatabase:
    """A database whose process may die before or after each commit."""

    def __init__(self, database: Database, fate: Fate) -> None:
        self._database = database
        self._fate = fate

    def read(self) -> Any:
        return self._database.read()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with self._database.write() as session:
            yield session
            self._fate.effect("before a commit")
        self._fate.effect("after a commit")


@contextmanager
def mortal_files(fate: Fate, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the process die before or after each rename of a folder or file."""

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def renamed(path: Path, target: Any) -> Any:
            fate.effect(f"before {path.name.split('-')[0]} is renamed")
            done = original(path, target)
            fate.effect(f"after {path.name.split('-')[0]} was renamed")
            return done

        return renamed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(Path, "replace", dying(Path.replace))
        yield


class OwnTrainer:
    """Both launcher and trainer; trains within the process, with different weights each time."""

    parent_pid = None

    def __init__(self) -> None:
        self.trained = 0
        self._saved: Saved | None = None

    async def launch(self, job_path: Path) -> "OwnTrainer":
        self.trained += 1
        output = _train(job_path, self.trained)
        self._saved = Saved(folder=str(output), sha256="0" * 64, seconds=1.5)
        return self

    async def kill_leftover(self, job_path: Path) -> None:
        """Do nothing: there is no separate process."""

    async def events(self) -> AsyncIterator[Event]:
        assert self._saved is not None
        yield self._saved

    async def wait(self) -> int:
        return 0

    async def terminate(self) -> None:
        """Do nothing: the training has ended."""


def _train(job_path: Path, seed: int) -> Path:
    output = Path(json.loads(job_path.read_text())["output"])
    make_adapter(output.with_name(f".{output.name}.partial"), seed).rename(output)
    return output


class _Chat(FakeChat):
    """Adapters answer `good words` or a text that a test sets; the base model `bad words`."""

    async def answer(self, *, model: str, request: Any) -> Any:
        name = model.partition("@")[2]
        self.newest = "" if name == "base" else name
        return await super().answer(model=model, request=request)


class MortalHouse:
    """One data folder and database, and one process at a time on them."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.fate = Fate()
        self.folder = folder
        self.store = ArtifactStore(folder)
        self.trainer = OwnTrainer()
        self.chat = _Chat()

    async def open(self) -> None:
        """Set up the channel and a week of chats and preferences."""
        _, registry = await self.process()
        await registry.close()
        await week(SATURDAY - timedelta(days=1), "first").write(self.house.database)

    async def process(self) -> tuple[RunService, Registry]:
        """Simulate a new process with a started registry and a stopped run service."""
        database: Any = MortalDatabase(self.house.database, self.fate)
        registry = Registry(
            database,
            FakeHost(4),
            self.store,
            self.house.clock,
            AdaptersConfig(tenant=TENANT),
            BASE,
            RegistryObserver(),
        )
        await registry.start()
        world = RunEnvironment(
            database=database,
            registry=registry,
            adapter_path=self.store.path,
            chat=self.chat,
            counterpart_chat=self.chat,
            judge=self.house.judge,
            launcher=self.trainer,
            config=self.house.config,
            base=BASE,
            clock=self.house.clock,
            observer=self.house.watcher,
            folder=self.house.folder,
            alone=True,
            monotonic=self.house.clock.monotonic,
        )
        return RunService(world), registry

    def drafts(self) -> list[Path]:
        """Return the unfinished drafts in the registry's folders."""
        return list(self.folder.glob("*/.*"))
