"""Several registries, each standing for a server, on one database and one folder of adapters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update
from sqlmodel import col

from adapters.cluster.membership import Identity, database_now
from adapters.cluster.peers import Peer
from adapters.config import AdaptersConfig, ClusterConfig
from adapters.models import Server, Version
from adapters.ports import ClusterObserver
from adapters.service import Registry
from adapters.store.local import ArtifactStore
from adapters.vetting.base_model import BaseModelInfo
from common.database import Database
from tests.adapters.adapter_files import BASE, make_adapter
from tests.adapters.fake_host import FakeHost
from tests.adapters.world import WHO, HandClock, RecordingObserver
from tests.waiting import until

__all__ = ["WHO", "OneServer", "Servers"]

CLUSTER = ClusterConfig(beat_seconds=0.02, retry_seconds=0.02, dead_seconds=10)


class RecordingClusterObserver(ClusterObserver):
    """Records all calls."""

    def __init__(self) -> None:
        self.looks: list[bool] = []
        self.seen = (0, 0, 0)
        self.waiting = 0
        self.waited = 0
        self.waits = asyncio.Event()

    def route_looked_up(self, *, found: bool) -> None:
        self.looks.append(found)

    def servers_seen(self, ready: int, starting: int, draining: int) -> None:
        self.seen = (ready, starting, draining)

    def change_waits(self, change: int) -> None:
        self.waiting += change
        self.waited += max(change, 0)
        self.waits.set() if self.waiting else self.waits.clear()


class OneServer:
    """A server with an engine of its own. It follows the others only within `following`."""

    def __init__(
        self, servers: "Servers", name: str, database: Database, base: BaseModelInfo
    ) -> None:
        self.name = name
        self.host = FakeHost(4)
        self.clock = HandClock()
        self.observer = RecordingObserver()
        self.cluster = RecordingClusterObserver()
        self.draining = False
        self.registry = Registry(
            database,
            self.host,
            servers.store,
            self.clock.now,
            servers.config,
            base,
            self.observer,
            me=Identity(f"id-{name}", name, f"http://{name}", base.fingerprint),
            cluster_observer=self.cluster,
            monotonic=self.clock.monotonic,
        )

    @property
    def answers(self) -> str:
        """Return the version that would answer a request now."""
        return self.registry.resolve("pawl").version

    async def pulse(self) -> None:
        """Run the loop once, wait for the loads that it starts, and report them."""
        await self.registry._follower.poll()
        await self.registry._follower._reconciler.done(10)
        await self.registry._follower.poll()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the others during the block, which starts after this server's first report."""
        follower = self.registry._follower
        self.registry.follow(lambda: self.draining)
        await until(lambda: follower._reporting is not None and follower._reporting.done())
        try:
            yield
        finally:
            await self.registry._follower.close()

    async def promoted(self, version: Version) -> str:
        await self.registry.promote(version.name, **WHO)
        return version.name


class Servers:
    """The servers of a test, and the database and folder that they share."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.store = ArtifactStore(folder / "adapters")
        self.config = AdaptersConfig(drain_quiet_seconds=0, cluster=CLUSTER)
        self.made: list[OneServer] = []

    def set_cluster(self, **values: float) -> None:
        """Change the cluster settings of servers created from now on."""
        cluster = self.config.cluster.model_copy(update=values)
        self.config = self.config.model_copy(update={"cluster": cluster})

    def make(
        self, name: str, *, database: Database | None = None, base: BaseModelInfo = BASE
    ) -> OneServer:
        """Return a server that is not started."""
        self.made.append(OneServer(self, name, database or self.database, base))
        return self.made[-1]

    async def started(self, name: str, *, database: Database | None = None) -> OneServer:
        """Return a server that is ready."""
        server = self.make(name, database=database)
        await server.registry.start()
        return server

    async def pair(self) -> tuple[OneServer, OneServer]:
        """Return two servers that are ready."""
        return await self.started("a"), await self.started("b")

    async def close(self) -> None:
        for server in self.made:
            await server.registry.close()

    def adapter(self, seed: int) -> Path:
        """A folder with the adapter of that seed."""
        folder = self.folder / "trained" / f"{seed}-{len(list(self.folder.glob('trained/*')))}"
        return make_adapter(folder, seed)

    async def add(self, server: OneServer, seed: int) -> Version:
        """A new candidate, registered through `server`."""
        return await server.registry.add(
            self.adapter(seed), channel="pawl", actor="admin", slot="2026-w47"
        )

    async def silence(self, server: OneServer, seconds: float = 60) -> None:
        """Make it look as if the server had not reported for `seconds`."""
        async with self.database.write() as session:
            then = await database_now(session) - timedelta(seconds=seconds)
            mine = col(Server.id) == server.registry.server_id
            await session.exec(update(Server).where(mine).values(heartbeat_at=then))

    async def peer(self, server: OneServer) -> Peer:
        """Return the server's row, as the others see it."""
        peers = await self.made[0].registry.servers()
        return next(peer for peer in peers if peer.id == server.registry.server_id)

    def spoil(self, version: str) -> None:
        """Damage the version's weights."""
        path = self.folder / "adapters" / "pawl" / version / "adapter_model.safetensors"
        path.chmod(0o644)
        path.write_bytes(b"damaged")


OTHER_BASE = replace(BASE, name="other", fingerprint="0" * 64)
