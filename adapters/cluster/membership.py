"""A server among those on its database: it reports itself, and sees the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, delete, true, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters import repository
from adapters.cluster.database_clock import moment, select_now
from adapters.cluster.peers import Peer, foreign_base, routed
from adapters.config import ClusterConfig
from adapters.errors import ForeignBaseModelError
from adapters.models import LoadRequest, Server
from adapters.signals import SERVERS, signal, signal_now
from common.database import Database

SWEPT_AFTER = 6
"""Times `dead_seconds`: so long the row of a dead server stays, for `pawl servers` to show."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this server is; `id` is made anew at each start.

    `predecessor` is the server that worked on the same data folder, and so is dead. `sole`: nobody
    else can work on this database.
    """

    id: str
    name: str = "here"
    url: str = ""
    base_fingerprint: str = ""
    predecessor: str | None = None
    sole: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a server says of itself; see `adapters.models.Server`."""

    loaded: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    failures: Mapping[str, str] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)
    draining: bool = False

    def values(self) -> dict[str, object]:
        """The columns."""
        return {
            "loaded": sorted(self.loaded),
            "leaving": sorted(self.leaving),
            "failures": dict(self.failures),
            "epochs": dict(self.epochs),
            "draining": self.draining,
        }


class Membership:
    """Writes this server's row and reads all.

    A server is *ready* once it holds all that the routes name, and that is found in the same
    transaction that says so. So a change of a route that finds every ready server prepared, in its
    own transaction, misses none: one comes before the other.
    """

    def __init__(self, database: Database, config: ClusterConfig, me: Identity) -> None:
        self.me = me
        self._database = database
        self._config = config
        self._ready = False
        self._said: Report | None = None
        self._log = structlog.get_logger()

    @property
    def ready(self) -> bool:
        """Whether this server held all that the routes name when it last reported itself."""
        return self._ready

    async def register(self) -> list[Peer]:
        """Appear among the servers, not ready yet; those there are.

        Raises `ForeignBaseModelError` where a live one was there before with another base model.
        """
        async with self._database.write() as session:
            gone = true() if self.me.sole else col(Server.id) == self.me.predecessor
            await session.exec(delete(Server).where(gone))
            await self._put(session, Report(), ready=False)
        peers = await self.peers()
        foreign = foreign_base(peers, self.me.id, self._config.dead_seconds)
        if foreign is not None:
            await self.leave()
            raise ForeignBaseModelError(foreign.name)
        return peers

    async def beat(self, report: Report) -> None:
        """Report this server: alive, and what it holds."""
        if self._ready and await self._database.transaction(lambda on: self._renew(on, report)):
            self._said = report
            return
        async with self._database.write() as session:
            named = routed(await repository.views(session))
            await self._put(session, report, ready=False)
            ready = report.loaded.issuperset(named) and await self._base_fits(session)
            await self._put(session, report, ready=ready)
        self._ready, self._said = ready, report

    def unready(self) -> None:
        """Have the next beat find out whether this server holds what it must."""
        self._ready = False

    async def leave(self) -> None:
        """Disappear: nobody waits for this server any more."""
        async with self._database.write() as session:
            await session.exec(delete(Server).where(col(Server.id) == self.me.id))
            await session.exec(delete(LoadRequest).where(col(LoadRequest.server) == self.me.id))
            await signal(session, SERVERS)

    async def peers(self) -> list[Peer]:
        """All servers that have reported themselves of late, the oldest first."""
        async with self._database.read() as session:
            return await peers_in(session)

    async def sweep(self) -> None:
        """Remove the rows of servers that have long been dead, and what was asked for long ago."""
        await self._database.transaction(self._sweep)

    def _renew(self, connection: Connection, report: Report) -> bool:
        """Whether this server was still counted as alive; then it is for longer.

        In a transaction that waits for no other server's: a paused one holds nobody up.
        """
        now = moment(connection.scalar(select_now()))
        mine = col(Server.id) == self.me.id
        counted = col(Server.heartbeat_at) > now - timedelta(seconds=self._config.dead_seconds)
        values = {"heartbeat_at": now, **report.values()}
        result = connection.execute(
            update(Server).where(mine, counted, col(Server.ready)).values(**values)
        )
        if report != self._said:
            signal_now(connection, SERVERS)
        return result.rowcount == 1

    async def _put(self, session: AsyncSession, report: Report, *, ready: bool) -> None:
        now = await database_now(session)
        row = await session.get(Server, self.me.id) or self._new_row(now)
        row.heartbeat_at, row.ready = now, ready
        for name, value in report.values().items():
            setattr(row, name, value)
        session.add(row)
        await signal(session, SERVERS)

    def _new_row(self, now: datetime) -> Server:
        return Server(
            id=self.me.id,
            name=self.me.name,
            url=self.me.url,
            base_fingerprint=self.me.base_fingerprint,
            started_at=now,
            heartbeat_at=now,
            loaded=[],
            leaving=[],
            failures={},
            epochs={},
        )

    async def _base_fits(self, session: AsyncSession) -> bool:
        """Whether no other live server has another base model: the database was away at start."""
        foreign = foreign_base(await peers_in(session), self.me.id, self._config.dead_seconds)
        if foreign is not None:
            self._log.error("base_model_differs", server=foreign.name)
        return foreign is None

    def _sweep(self, connection: Connection) -> None:
        now = moment(connection.scalar(select_now()))
        dead = now - timedelta(seconds=SWEPT_AFTER * self._config.dead_seconds)
        connection.execute(delete(Server).where(col(Server.heartbeat_at) < dead))
        connection.execute(delete(LoadRequest).where(col(LoadRequest.until) < now))


async def peers_in(session: AsyncSession) -> list[Peer]:
    """All servers with a row, the oldest first."""
    now = await database_now(session)
    rows: Sequence[Server] = (
        await session.exec(select(Server).order_by(col(Server.started_at), col(Server.id)))
    ).all()
    return [_peer(row, now) for row in rows]


async def database_now(session: AsyncSession) -> datetime:
    """The time now by the database's clock."""
    return moment(await session.scalar(select_now()))


def _peer(row: Server, now: datetime) -> Peer:
    return Peer(
        id=row.id,
        name=row.name,
        url=row.url,
        age_seconds=(now - row.heartbeat_at).total_seconds(),
        started_at=row.started_at,
        base_fingerprint=row.base_fingerprint,
        ready=row.ready,
        draining=row.draining,
        loaded=frozenset(row.loaded),
        leaving=frozenset(row.leaving),
        failures=row.failures,
        epochs=row.epochs,
    )
