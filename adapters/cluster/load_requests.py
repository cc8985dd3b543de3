"""Before a route names a version, every server is asked to load it, and waited for."""

import secrets
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.cluster.membership import Membership, database_now, peers_in
from adapters.cluster.peers import Peer, waited_for
from adapters.config import AdaptersConfig
from adapters.errors import NotLoadedEverywhereError
from adapters.models import LoadRequest
from adapters.ports import ClusterObserver
from adapters.signals import ROUTES, signal
from common.clock import Monotonic
from common.database import Database
from common.wakeups import Wakeups, until_woken

NOT_YET = "it is not loaded there"


@dataclass(slots=True)
class Asked:
    """Versions that all servers are asked to hold; `requests` are their names by request.

    `deadline` is by the monotonic clock. Nothing is published while nobody has to be waited for.
    """

    versions: frozenset[str]
    requests: Mapping[str, str]
    deadline: float
    published: bool = False


class LoadRequests:
    """Asks all servers to load, and waits for them; `heard` wakes when one reports itself."""

    def __init__(
        self,
        database: Database,
        membership: Membership,
        config: AdaptersConfig,
        observer: ClusterObserver,
        heard: Wakeups,
        monotonic: Monotonic,
    ) -> None:
        self._database = database
        self._membership = membership
        self._config = config
        self._observer = observer
        self._heard = heard
        self._monotonic = monotonic
        self._log = structlog.get_logger()

    async def pending(self) -> dict[str, str]:
        """What servers are asked to load now: the version of each request."""
        async with self._database.read() as session:
            now = await database_now(session)
            query = select(LoadRequest.id, LoadRequest.version).where(col(LoadRequest.until) > now)
            return {request: version for request, version in (await session.exec(query)).all()}  # noqa: C416

    async def check(self, session: AsyncSession, versions: Collection[str]) -> None:
        """Raise `NotLoadedEverywhereError` unless every ready server holds `versions`."""
        missing = self._waited_for(await peers_in(session), versions) if versions else []
        if missing:
            raise NotLoadedEverywhereError(versions, {one.name: NOT_YET for one in missing})

    @asynccontextmanager
    async def asking(self, versions: Collection[str]) -> AsyncIterator[Asked]:
        """Have all servers load `versions` (which this one holds) while the block runs."""
        asked = Asked(
            versions=frozenset(versions),
            requests={secrets.token_hex(8): name for name in versions},
            deadline=self._monotonic() + self._config.load_timeout_seconds,
        )
        try:
            yield asked
        finally:
            if asked.published:
                await self._withdraw(asked)

    async def everywhere(self, asked: Asked) -> None:
        """Return once every ready server holds the versions.

        Raises `NotLoadedEverywhereError` when the time is over, or when one says that it cannot.
        """
        while asked.versions:
            mark = self._heard.mark()
            missing = self._waited_for(await self._membership.peers(), asked.versions)
            if not missing:
                return
            why = {peer.name: _failure(peer, asked) or NOT_YET for peer in missing}
            if set(why.values()) != {NOT_YET} or self._monotonic() >= asked.deadline:
                raise NotLoadedEverywhereError(asked.versions, why)
            if not asked.published:
                await self._publish(asked)
            await until_woken(mark, self._config.cluster.beat_seconds)

    async def _publish(self, asked: Asked) -> None:
        async with self._database.write() as session:
            seconds = self._config.load_timeout_seconds
            until = await database_now(session) + timedelta(seconds=seconds)
            for request, version in asked.requests.items():
                me = self._membership.me.id
                session.add(LoadRequest(id=request, version=version, server=me, until=until))
            await signal(session, ROUTES)
        asked.published = True
        self._observer.change_waits(1)
        self._log.info("servers_asked_to_load", versions=sorted(asked.versions))

    async def _withdraw(self, asked: Asked) -> None:
        self._observer.change_waits(-1)
        try:
            async with self._database.write() as session:
                query = delete(LoadRequest).where(col(LoadRequest.id).in_(asked.requests))
                await session.exec(query)
        except SQLAlchemyError as error:  # it is forgotten by itself
            self._log.warning("load_request_left", error=type(error).__name__)

    def _waited_for(self, peers: Collection[Peer], versions: Collection[str]) -> list[Peer]:
        me, dead = self._membership.me.id, self._config.cluster.dead_seconds
        return list(waited_for(peers, versions, dead, me=me).values())


def _failure(peer: Peer, asked: Asked) -> str:
    """Why the server cannot load what it was asked for; empty where it says nothing of it."""
    return "; ".join(why for request, why in peer.failures.items() if request in asked.requests)
