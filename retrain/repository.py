"""Database access to runs. Every write of a run's owner checks its fencing token."""

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
    """The right to write to a run, valid while the run's row has this fence."""

    run: str
    owner: str
    fence: int


@dataclass(frozen=True, slots=True)
class Starts:
    """The starts of a channel's runs: how many, the last one, and the end of the last snapshot."""

    count: int
    last: datetime | None
    cut_off: datetime | None


class RunRepository:
    """Queries on runs, and on the questions that versions were trained on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, run: Run, known: int | None = None) -> None:
        """Add a run.

        Raises `RunInProgressError` if the channel has a running one, and `SlotTakenError` if a run
        with this slot and attempt exists. With `known`, the number of the channel's runs on which
        the start was decided, also if there are others by now: of several servers that decided on
        the same feedback one starts a run, whatever their clocks say.
        """
        under_way = select(Run.id).where(Run.channel == run.channel, Run.state == "running")
        try:
            async with self._database.write() as session:
                await lock_channel(session, run.channel)
                if (await session.exec(under_way)).first() is not None:
                    raise RunInProgressError(f"{run.channel} has a run under way: wait for its end")
                if known not in (None, await _count(session, run.channel)):
                    raise SlotTakenError(f"another run of {run.channel} was started meanwhile")
                session.add(run)
        except IntegrityError as error:
            raise SlotTakenError(
                f"{run.channel} has a run of {run.slot} (attempt {run.attempt}) already"
            ) from error

    async def get(self, identifier: str) -> Run:
        """Return a run. Raises `UnknownRunError`."""
        async with self._database.read() as session:
            run = await session.get(Run, identifier)
        if run is None:
            raise UnknownRunError("there is no such run: 'pawl runs list' shows them")
        return run

    async def of_channel(self, channel: str) -> list[Run]:
        """Return all runs of a channel, newest first."""
        query = (
            select(Run)
            .where(Run.channel == channel)
            .order_by(col(Run.created_at).desc(), col(Run.id).desc())
        )
        async with self._database.read() as session:
            return list((await session.exec(query)).all())

    async def of_slot(self, channel: str, slot: str) -> list[Run]:
        """Return the attempts of a slot, in order."""
        query = (
            select(Run).where(Run.channel == channel, Run.slot == slot).order_by(col(Run.attempt))
        )
        async with self._database.read() as session:
            return list((await session.exec(query)).all())

    async def running(self) -> list[Run]:
        """Return the runs that have not ended, oldest first."""
        query = select(Run).where(Run.state == "running").order_by(col(Run.created_at))
        async with self._database.read() as session:
            return list((await session.exec(query)).all())

    async def cut_off_of(self, versions: Collection[str]) -> datetime | None:
        """Return the latest `cut_off` of the runs that trained these versions, or None."""
        query = select(func.max(col(Run.cut_off))).where(col(Run.version).in_(versions))
        async with self._database.read() as session:
            return (await session.exec(query)).one()

    async def starts(self, channel: str, until: datetime) -> "Starts":
        """Return the starts of a channel's runs.

        The last start and snapshot are those up to `until`, so that one in the far future, which a
        wrong clock wrote, does not hide those of today. The count is of all runs.
        """
        ours = Run.channel == channel
        started = select(func.max(col(Run.created_at))).where(ours, col(Run.created_at) <= until)
        snapshot = select(func.max(col(Run.cut_off))).where(ours, col(Run.cut_off) <= until)
        async with self._database.read() as session:
            return Starts(
                count=await _count(session, channel),
                last=(await session.exec(started)).one(),
                cut_off=(await session.exec(snapshot)).one(),
            )

    async def channel(self, name: str) -> Channel:
        """Return a channel. Raises `UnknownChannelError`."""
        async with self._database.read() as session:
            channel = await session.get(Channel, name)
        if channel is None:
            raise UnknownChannelError
        return channel

    async def channels(self) -> list[Channel]:
        """Return all channels, sorted by name."""
        async with self._database.read() as session:
            return list((await session.exec(select(Channel).order_by(col(Channel.name)))).all())

    async def take_over(self, run: Run, owner: str, until: datetime) -> Lease | None:
        """Take over the lease of a run.

        Returns None if the run's lease has changed since it was read: another server has taken it
        over, or its owner is alive and has renewed it.
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
        """Write columns of the run. Raises `LeaseLostError` if another process owns it."""
        async with self._database.write() as session:
            await _write(session, lease, values)

    def holding(self, lease: Lease) -> Guard:
        """Return a guard for changes of other tables, which makes them only if the lease is held.

        It locks the run's row, so that a take-over waits for the end of the transaction. The guard
        raises `LeaseLostError`.
        """

        async def guard(session: AsyncSession) -> None:
            await _write(session, lease, {"fence": lease.fence})

        return guard

    async def renew(self, lease: Lease, now: datetime, seconds: float) -> None:
        """Extend the lease to `seconds` from `now`. Raises `LeaseLostError`."""
        await self.write(lease, lease_until=now + timedelta(seconds=seconds))

    async def request_cancel(self, identifier: str) -> None:
        """Request that the run stop; its owner notices at the next renewal of its lease."""
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
        """Store which questions a version was trained on, replacing earlier ones.

        Raises the guard's errors.
        """
        rows = [{"version": version, "text_key": key} for key in sorted(keys)]
        async with self._database.write() as session:
            await guard(session)
            await session.exec(delete(TrainedText).where(col(TrainedText.version) == version))
            for start in range(0, len(rows), _CHUNK):
                await session.exec(insert(TrainedText), params=rows[start : start + _CHUNK])

    async def trained_texts(self, versions: Iterable[str]) -> set[str]:
        """Return the keys of all questions that any of the versions was trained on."""
        query = select(TrainedText.text_key).where(col(TrainedText.version).in_(list(versions)))
        async with self._database.read() as session:
            return set((await session.exec(query)).all())


async def _count(session: AsyncSession, channel: str) -> int:
    return (await session.exec(select(func.count()).where(Run.channel == channel))).one()


async def lock_channel(session: AsyncSession, channel: str) -> None:
    """Lock the channel, so that other writers of its runs and rollouts wait for this transaction.

    Has no effect on SQLite, which has a single writer anyway.
    """
    await session.exec(select(Channel.name).where(Channel.name == channel).with_for_update())


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Run.id) == lease.run,
        col(Run.fence) == lease.fence,
        col(Run.state) == "running",
    )


async def _write(session: AsyncSession, lease: Lease, values: dict[str, Any]) -> None:
    """Write with a conditional update, which is atomic on every database."""
    done = await session.exec(update(Run).where(*_held(lease)).values(**values))
    if done.rowcount != 1:
        raise LeaseLostError(f"{lease.run} was taken over by another process, or has ended")
