"""Load requests: before a route names a version, every ready server must have loaded it."""

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
"""Reason given for a server that has not loaded a version and has not reported a failure."""


@dataclass(slots=True)
class LoadOrder:
    """Versions that all servers must load; `requests` maps each load request's id to its version.

    `deadline` is a time of the monotonic clock. `published` is whether the requests were written to
    the database, which happens only if a server lacks a version.
    """

    versions: frozenset[str]
    requests: Mapping[str, str]
    deadline: float
    published: bool = False


class LoadRequests:
    """Requests that all servers load versions, and waits until they have.

    `reports` wakes when a server reports itself.
    """

    def __init__(
        self,
        database: Database,
        membership: Membership,
        config: AdaptersConfig,
        observer: ClusterObserver,
        reports: Wakeups,
        monotonic: Monotonic,
    ) -> None:
        self._database = database
        self._membership = membership
        self._config = config
        self._observer = observer
        self._reports = reports
        self._monotonic = monotonic
        self._log = structlog.get_logger()

    async def pending(self) -> dict[str, str]:
        """Return the open load requests: their ids and versions."""
        async with self._database.read() as session:
            now = await database_now(session)
            query = select(LoadRequest.id, LoadRequest.version).where(col(LoadRequest.until) > now)
            return {request: version for request, version in (await session.exec(query)).all()}  # noqa: C416

    async def check(self, session: AsyncSession, versions: Collection[str]) -> None:
        """Raise `NotLoadedEverywhereError` unless every ready server has loaded `versions`."""
        missing = self._waited_for(await peers_in(session), versions) if versions else []
        if missing:
            raise NotLoadedEverywhereError(versions, {one.name: NOT_YET for one in missing})

    @asynccontextmanager
    async def requesting(self, versions: Collection[str]) -> AsyncIterator[LoadOrder]:
        """Request, for the duration of the block, that all servers load `versions`.

        This server must have loaded them already. `wait_until_loaded` publishes the requests.
        """
        order = LoadOrder(
            versions=frozenset(versions),
            requests={secrets.token_hex(8): name for name in versions},
            deadline=self._monotonic() + self._config.load_timeout_seconds,
        )
        try:
            yield order
        finally:
            if order.published:
                await self._withdraw(order)

    async def wait_until_loaded(self, order: LoadOrder) -> None:
        """Wait until every ready server has loaded the versions.

        Raises `NotLoadedEverywhereError` at the deadline, or when a server reports a failed load.
        """
        while order.versions:
            mark = self._reports.mark()
            missing = self._waited_for(await self._membership.peers(), order.versions)
            if not missing:
                return
            why = {peer.name: _failure(peer, order) or NOT_YET for peer in missing}
            if set(why.values()) != {NOT_YET} or self._monotonic() >= order.deadline:
                raise NotLoadedEverywhereError(order.versions, why)
            if not order.published:
                await self._publish(order)
            await until_woken(mark, self._config.cluster.beat_seconds)

    async def _publish(self, order: LoadOrder) -> None:
        async with self._database.write() as session:
            seconds = self._config.load_timeout_seconds
            until = await database_now(session) + timedelta(seconds=seconds)
            for request, version in order.requests.items():
                me = self._membership.me.id
                session.add(LoadRequest(id=request, version=version, server=me, until=until))
            await signal(session, ROUTES)
        order.published = True
        self._observer.change_waits(1)
        self._log.info("servers_asked_to_load", versions=sorted(order.versions))

    async def _withdraw(self, order: LoadOrder) -> None:
        self._observer.change_waits(-1)
        try:
            async with self._database.write() as session:
                query = delete(LoadRequest).where(col(LoadRequest.id).in_(order.requests))
                await session.exec(query)
        except SQLAlchemyError as error:  # it expires by itself
            self._log.warning("load_request_left", error=type(error).__name__)

    def _waited_for(self, peers: Collection[Peer], versions: Collection[str]) -> list[Peer]:
        me, dead = self._membership.me.id, self._config.cluster.dead_seconds
        return list(waited_for(peers, versions, dead, me=me).values())


def _failure(peer: Peer, order: LoadOrder) -> str:
    """Return why the server failed to load the requested versions, or an empty string."""
    return "; ".join(why for request, why in peer.failures.items() if request in order.requests)
