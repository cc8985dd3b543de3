"""Membership: this server's row in the table of servers, and the rows of the others."""

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
"""Multiple of `dead_seconds` after which the row of a dead server is deleted; until then
`pawl servers` shows it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of this server; `id` is new at each start.

    `predecessor` is the id of the previous process on the same data folder, which has therefore
    ended. `sole` is whether no other server can use this database (SQLite).
    """

    id: str
    name: str = "here"
    url: str = ""
    base_fingerprint: str = ""
    predecessor: str | None = None
    sole: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a server reports about itself; see `adapters.models.Server` for the fields."""

    loaded: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    failures: Mapping[str, str] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)
    draining: bool = False

    def values(self) -> dict[str, object]:
        """Return the values of the columns of `adapters.models.Server`."""
        return {
            "loaded": sorted(self.loaded),
            "leaving": sorted(self.leaving),
            "failures": dict(self.failures),
            "epochs": dict(self.epochs),
            "draining": self.draining,
        }


class Membership:
    """Writes this server's row and reads the rows of all servers.

    A server is *ready* once it has loaded every version that the routes name; the transaction that
    marks it ready also checks that. A route change checks in its own transaction that every ready
    server has loaded the new versions. As these transactions are serialised, no ready server can
    lack a version that a route names.
    """

    def __init__(self, database: Database, config: ClusterConfig, me: Identity) -> None:
        self.me = me
        self._database = database
        self._config = config
        self._ready = False
        self._reported: Report | None = None
        self._log = structlog.get_logger()

    @property
    def ready(self) -> bool:
        """Whether all versions that the routes name were loaded here at the last heartbeat."""
        return self._ready

    async def register(self) -> list[Peer]:
        """Insert this server's row, not ready yet, and return all servers.

        Raises `ForeignBaseModelError` if a running server that started earlier serves another base
        model.
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
        """Write a heartbeat with `report`."""
        if self._ready and await self._database.transaction(lambda on: self._renew(on, report)):
            self._reported = report
            return
        async with self._database.write() as session:
            named = routed(await repository.views(session))
            await self._put(session, report, ready=False)
            ready = report.loaded.issuperset(named) and await self._base_fits(session)
            await self._put(session, report, ready=ready)
        self._ready, self._reported = ready, report

    def unready(self) -> None:
        """Make the next heartbeat check again whether this server is ready."""
        self._ready = False

    async def leave(self) -> None:
        """Delete this server's row and load requests, so that no other server waits for it."""
        async with self._database.write() as session:
            await session.exec(delete(Server).where(col(Server.id) == self.me.id))
            await session.exec(delete(LoadRequest).where(col(LoadRequest.server) == self.me.id))
            await signal(session, SERVERS)

    async def peers(self) -> list[Peer]:
        """Return all servers that have a row, the oldest first."""
        async with self._database.read() as session:
            return await peers_in(session)

    async def sweep(self) -> None:
        """Delete the rows of long-dead servers and expired load requests."""
        await self._database.transaction(self._sweep)

    def _renew(self, connection: Connection, report: Report) -> bool:
        """Write a heartbeat if this server still counts as alive and ready; return whether it does.

        The transaction takes no lock of other servers, so that a suspended one blocks nobody.
        """
        now = moment(connection.scalar(select_now()))
        mine = col(Server.id) == self.me.id
        counted = col(Server.heartbeat_at) > now - timedelta(seconds=self._config.dead_seconds)
        values = {"heartbeat_at": now, **report.values()}
        result = connection.execute(
            update(Server).where(mine, counted, col(Server.ready)).values(**values)
        )
        if report != self._reported:
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
        """Whether no earlier server has another base model.

        `register` could not check that if the database was unavailable at start.
        """
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
    """Return all servers that have a row, the oldest first."""
    now = await database_now(session)
    rows: Sequence[Server] = (
        await session.exec(select(Server).order_by(col(Server.started_at), col(Server.id)))
    ).all()
    return [_peer(row, now) for row in rows]


async def database_now(session: AsyncSession) -> datetime:
    """Return the current time of the database's clock."""
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
