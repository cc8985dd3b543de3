"""The runs in the database. Each write of a run's owner is guarded by its fence."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.errors import UnknownChannelError
from adapters.models import Channel
from common.database import Database, Guard, allow_any
from retrain.errors import (
    LeaseLostError,
    RunInProgressError,
    SlotTakenError,
    UnknownRunError,
)
from retrain.models import Run, TrainedText

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a run: valid while the row still carries this fence."""

    run: str
    owner: str
    fence: int


class RunRepository:
    """Queries on runs and on what versions were trained on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, run: Run) -> None:
        """Add a run, if the channel has none under way.

        Raises `RunInProgressError`, or `SlotTakenError` where its slot and attempt exist already.
        """
        under_way = select(Run.id).where(Run.channel == run.channel, Run.state == "running")
        try:
            async with self._database.write() as session:
                await alone_on(session, run.channel)
                if (await session.exec(under_way)).first() is not None:
                    raise RunInProgressError(f"{run.channel} has a run under way: wait for its end")
                session.add(run)
        except IntegrityError as error:
            raise SlotTakenError(
                f"{run.channel} has a run of {run.slot} (attempt {run.attempt}) already"
            ) from error

    async def get(self, identifier: str) -> Run:
        """Raises `UnknownRunError`."""
        async with self._database.read() as session:
            run = await session.get(Run, identifier)
        if run is None:
            raise UnknownRunError("there is no such run: 'pawl runs list' shows them")
        return run

    async def of_channel(self, channel: str) -> list[Run]:
        """All runs of a channel, the newest first."""
        query = (
            select(Run)
            .where(Run.channel == channel)
            .order_by(col(Run.created_at).desc(), col(Run.id).desc())
        )
        async with self._database.read() as session:
            return list((await session.exec(query)).all())

    async def of_slot(self, channel: str, slot: str) -> list[Run]:
        """The attempts at a slot, in order."""
        query = (
            select(Run).where(Run.channel == channel, Run.slot == slot).order_by(col(Run.attempt))
        )
        async with self._database.read() as session:
            return list((await session.exec(query)).all())

    async def running(self) -> list[Run]:
        """The runs that have not ended, the oldest first."""
        query = select(Run).where(Run.state == "running").order_by(col(Run.created_at))
        async with self._database.read() as session:
            return list((await session.exec(query)).all())

    async def cut_off_of(self, versions: Collection[str]) -> datetime | None:
        """Up to when the runs that made these versions have used the feedback."""
        query = select(func.max(col(Run.cut_off))).where(col(Run.version).in_(versions))
        async with self._database.read() as session:
            return (await session.exec(query)).one()

    async def channel(self, name: str) -> Channel:
        """Raises `UnknownChannelError`."""
        async with self._database.read() as session:
            channel = await session.get(Channel, name)
        if channel is None:
            raise UnknownChannelError
        return channel

    async def channels(self) -> list[Channel]:
        """All channels, by name."""
        async with self._database.read() as session:
            return list((await session.exec(select(Channel).order_by(col(Channel.name)))).all())

    async def take_over(self, run: Run, owner: str, until: datetime) -> Lease | None:
        """Take the lease of a run as it was read; None where somebody else was faster.

        Or where its owner has shown itself since: one that only seemed dead keeps it.
        """
        lost = run.lost_owners + (run.owner not in (None, owner))
        query = (
            update(Run)
            .where(*_held(Lease(run.id, owner, run.fence)))
            .where(col(Run.lease_until).is_not_distinct_from(run.lease_until))
            .values(owner=owner, fence=run.fence + 1, lost_owners=lost, lease_until=until)
        )
        async with self._database.write() as session:
            taken = (await session.exec(query)).rowcount == 1
        return Lease(run.id, owner, run.fence + 1) if taken else None

    async def write(self, lease: Lease, **values: Any) -> None:
        """Change the run's columns. Raises `LeaseLostError` when another owner has it."""
        async with self._database.write() as session:
            await _write(session, lease, values)

    def holding(self, lease: Lease) -> Guard:
        """For changes that are not the run's own: they are made while the lease holds, or not.

        Who takes the run over waits for the change's end. Raises `LeaseLostError`.
        """

        async def guard(session: AsyncSession) -> None:
            await _write(session, lease, {"fence": lease.fence})

        return guard

    async def renew(self, lease: Lease, now: datetime, seconds: float) -> None:
        """Keep the lease for so long from now. Raises `LeaseLostError`."""
        await self.write(lease, lease_until=now + timedelta(seconds=seconds))

    async def request_cancel(self, identifier: str) -> None:
        """Leave word that the run should stop; its owner sees it at the next heartbeat."""
        query = (
            update(Run)
            .where(col(Run.id) == identifier, col(Run.state) == "running")
            .values(cancel_requested=True)
        )
        async with self._database.write() as session:
            await session.exec(query)

    async def replace_trained_texts(
        self, version: str, keys: Iterable[str], guard: Guard = allow_any
    ) -> None:
        """Note which questions a version was trained on; repeating it changes nothing.

        Raises what the guard raises.
        """
        rows = [{"version": version, "text_key": key} for key in sorted(keys)]
        async with self._database.write() as session:
            await guard(session)
            await session.exec(delete(TrainedText).where(col(TrainedText.version) == version))
            for start in range(0, len(rows), _CHUNK):
                await session.exec(insert(TrainedText), params=rows[start : start + _CHUNK])

    async def trained_texts(self, versions: Iterable[str]) -> set[str]:
        """The keys of all questions that any of the versions was trained on."""
        query = select(TrainedText.text_key).where(col(TrainedText.version).in_(list(versions)))
        async with self._database.read() as session:
            return set((await session.exec(query)).all())


async def alone_on(session: AsyncSession, channel: str) -> None:
    """Have others who write about the channel's runs or rollouts wait for this transaction's end.

    SQLite has one writer anyway, and ignores it.
    """
    await session.exec(select(Channel.name).where(Channel.name == channel).with_for_update())


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Run.id) == lease.run,
        col(Run.fence) == lease.fence,
        col(Run.state) == "running",
    )


async def _write(session: AsyncSession, lease: Lease, values: dict[str, Any]) -> None:
    """One conditional update: atomic on every database."""
    done = await session.exec(update(Run).where(*_held(lease)).values(**values))
    if done.rowcount != 1:
        raise LeaseLostError(f"{lease.run} was taken over by another process, or has ended")
