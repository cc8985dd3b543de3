"""A deployment with something of everything in it, and another one to restore into."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapters.config import AdaptersConfig
from adapters.models import Channel, Route, Version, VersionEvent
from adapters.store.artifacts import Artifacts
from adapters.store.manifest import manifest_of
from adapters.vetting.vet import vet
from retrain.models import Run
from server.adapter_store import open_store
from server.database.database import Database
from server.database.migrate import upgrade
from server.maintenance.backup.rows import encoder
from server.maintenance.backup.snapshot import columns_of, rows_of, snapshot, tables_of
from server.models import ApiKey, Secret
from server.settings import Settings
from tests.adapters.adapter_files import BASE, make_adapter
from tests.adapters.store.test_local import version_of
from tests.retrain.log import Log

NOW = datetime(2026, 11, 21, 3, 4, 5, 678901, tzinfo=UTC)
LIVE, OLD = "2026-w47-aaaaaa", "2026-w40-bbbbbb"
ODD = {"messages": [{"role": "user", "content": "\ud800 é 漢 \\u0000"}], "n": 2**70, "f": 0.1}


@dataclass(frozen=True, slots=True)
class Deployment:
    """Its settings, and where a test keeps its own files."""

    settings: Settings
    folder: Path

    @classmethod
    def at(cls, folder: Path, url: str | None = None, **adapters: Any) -> "Deployment":
        """One below `folder`; its database is SQLite in its data folder unless `url` says."""
        folder.mkdir(parents=True, exist_ok=True)
        given = Settings(
            data_dir=folder / "data", database_url=url, adapters=AdaptersConfig(**adapters)
        )
        return cls(given, folder)

    @property
    def store(self) -> Artifacts:
        """Where its adapters' files are."""
        return open_store(self.settings)

    async def fill(self) -> None:
        """Something in every table, and two versions, one of whose files are gone."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        await upgrade(self.settings.database)
        database = Database(self.settings.database)
        log = Log(NOW)
        asked = log.ask("hours?", "nine", first_token_seconds=0.1 + 0.2, request=ODD)
        log.say("comment", asked, None, rationale="née", tags={"a": "b"})
        log.say("preference", asked, {"over": "x", "choice": 0})
        await log.write(database)
        async with database.write() as session:
            session.add(Channel(name="pawl", tenant="shop", shared=True, created_at=NOW))
            await session.flush()
            session.add_all([*self._versions(), *_others()])
        await database.close()

    def _versions(self) -> list[Version]:
        live = self.publish(LIVE, 1)
        live.state = "live"
        old = version_of(live_manifest(self.folder, OLD, 2), f"pawl/{OLD}")
        old.state = "retired"
        return [live, old]

    def publish(self, name: str, seed: int) -> Version:
        """A version whose files are in the store."""
        manifest = live_manifest(self.folder, name, seed)
        place = self.store.publish(self.folder / "trained" / name, manifest)
        return version_of(manifest, place)

    def content(self) -> dict[str, list[bytes]]:
        """All rows of all tables, in one form for all databases."""
        with snapshot(self.settings.database) as connection:
            return {
                name: sorted(
                    encoder([column.kind for column in columns_of(table)])(row)
                    for row in rows_of(connection, table)
                )
                for name, table in tables_of(connection).items()
            }


def live_manifest(folder: Path, name: str, seed: int) -> Any:
    """The manifest of an adapter that is made for it."""
    source = make_adapter(folder / "trained" / name, seed)
    return manifest_of(vet(source, BASE, AdaptersConfig()), BASE, channel="pawl", version=name)


def _others() -> list[Any]:
    return [
        Route(channel="pawl", live=LIVE, changed_at=NOW, changed_by="a", reason="b", epoch=7),
        VersionEvent(
            id="1",
            version=LIVE,
            channel="pawl",
            at=NOW - timedelta(days=400),
            from_state=None,
            to_state="candidate",
            actor="a",
            reason="b",
        ),
        Run(
            id="pawl-2026-w47",
            channel="pawl",
            tenant="shop",
            slot="2026-w47",
            attempt=1,
            trigger="manual",
            state="skipped",
            step="snapshot",
            created_at=NOW,
            figures={"a": [1, None]},
        ),
        ApiKey(id="k", hash="h", role="admin", tenant="shop", created_at=NOW),
        Secret(name="interaction-id", value=bytes(range(256))),
    ]


def silent(_what: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def clock() -> datetime:
    """Always the same."""
    return NOW
