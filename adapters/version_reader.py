"""Queries of versions and their events."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func
from sqlmodel import col, select

from adapters import repository
from adapters.models import Version, VersionEvent
from adapters.routing.lifecycle import ENDED, lineage, states
from common.database import Database


class VersionReader:
    """Queries of versions and their events, each in its own session.

    `Registry` and `Ledger` inherit from it. Queries that run in the transaction of a
    change are in `adapters.repository`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self, name: str) -> Version:
        """Return one version; raises `UnknownVersionError`."""
        async with self._database.read() as session:
            return await repository.get_version(session, name)

    async def versions(self, channel: str) -> list[Version]:
        """Return the channel's versions, oldest first; raises `UnknownChannelError`."""
        query = select(Version).where(col(Version.channel) == channel)
        ordered = query.order_by(col(Version.created_at), col(Version.name))
        async with self._database.read() as session:
            await repository.get_route(session, channel)
            return list(await session.exec(ordered))

    async def events(self, version: str) -> list[VersionEvent]:
        """Return the events of a version, oldest first; raises `UnknownVersionError`."""
        query = select(VersionEvent).where(col(VersionEvent.version) == version)
        ordered = query.order_by(col(VersionEvent.at), col(VersionEvent.id))
        async with self._database.read() as session:
            await repository.get_version(session, version)
            return list(await session.exec(ordered))

    async def count_events(self, actor: str) -> int:
        """Return how many changes of versions' states the actor made, in all channels."""
        query = select(func.count()).select_from(VersionEvent)
        async with self._database.read() as session:
            return (await session.exec(query.where(col(VersionEvent.actor) == actor))).one()

    async def parents(self, channel: str) -> dict[str, str | None]:
        """Return the parent of each version of the channel."""
        query = select(col(Version.name), col(Version.parent))
        async with self._database.read() as session:
            rows = await session.exec(query.where(col(Version.channel) == channel))
            return {name: parent for name, parent in rows}  # noqa: C416  (a row is no pair)

    async def lineage(self, version: str) -> list[str]:
        """Return the version and all its ancestors, nearest first, without `base`."""
        row = await self.version(version)
        return lineage(version, await self.parents(row.channel))

    async def with_digest(self, digest: str) -> Sequence[Version]:
        """Return the versions with this content digest, oldest first."""
        async with self._database.read() as session:
            return await repository.with_digest(session, digest)

    async def names(self) -> set[str]:
        """Return the names of all versions, ended ones too: names are never reused."""
        async with self._database.read() as session:
            return set(await session.exec(select(col(Version.name))))

    async def ended_before(self, moment: datetime) -> Sequence[Version]:
        """Return the versions that reached a final state at `moment` or before."""
        last = (
            select(func.max(col(VersionEvent.at)))
            .where(col(VersionEvent.version) == col(Version.name))
            .scalar_subquery()
        )
        query = select(Version).where(col(Version.state).in_(states(ENDED)), last <= moment)
        async with self._database.read() as session:
            return (await session.exec(query.order_by(col(Version.name)))).all()
