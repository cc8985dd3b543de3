"""Database access to rollouts and their events."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select

from common.database import Database, Guard, allow_any
from retrain.errors import RolloutUnderWayError, UnknownRolloutError
from retrain.gates.budget import Budget, Spending
from retrain.models import Rollout, RolloutEvent
from retrain.repository import lock_channel
from retrain.rollout.decisions import OPEN, Phase
from retrain.rollout.grants import endow, spendings


class RolloutRepository:
    """Queries on rollouts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last_id = 0

    async def insert(
        self,
        rollout: Rollout,
        event: RolloutEvent,
        guard: Guard = allow_any,
        budget: Budget | None = None,
    ) -> None:
        """Add a rollout with its first event. It takes its alpha from `budget`, if there is one.

        Both happen in one transaction that locks the channel, so that no alpha is granted twice.
        Raises `RolloutUnderWayError` if the channel has an open rollout beyond a watch or the
        version was rolled out before, and whatever the guard raises.
        """
        open_ones = select(Rollout.version).where(
            Rollout.channel == rollout.channel, col(Rollout.phase).in_(OPEN - {Phase.WATCH})
        )
        async with self._database.write() as session:
            await guard(session)
            await lock_channel(session, rollout.channel)
            if (await session.exec(open_ones)).first() is not None:
                raise RolloutUnderWayError(f"{rollout.channel} has a rollout under way")
            if await session.get(Rollout, rollout.version) is not None:
                raise RolloutUnderWayError(f"{rollout.version} has been rolled out before")
            if budget is not None:
                spent = await spendings(session, rollout.channel)
                event.numbers = {**event.numbers, **endow(rollout, spent, budget)}
            session.add(rollout)
            session.add(event)

    async def get(self, version: str) -> Rollout:
        """Return the version's rollout. Raises `UnknownRolloutError`."""
        async with self._database.read() as session:
            found = await session.get(Rollout, version)
        if found is None:
            raise UnknownRolloutError(
                "there is no rollout of that version: 'pawl rollouts list' shows them"
            )
        return found

    async def find(self, version: str) -> Rollout | None:
        """Return the version's rollout, or None."""
        async with self._database.read() as session:
            return await session.get(Rollout, version)

    async def of_channel(self, channel: str) -> list[Rollout]:
        """Return the channel's rollouts, newest first."""
        query = select(Rollout).where(Rollout.channel == channel)
        async with self._database.read() as session:
            return list(await session.exec(query.order_by(col(Rollout.began_at).desc())))

    async def spendings(self, channel: str) -> list[Spending]:
        """Return all that the channel has taken from its budget of false promotions."""
        async with self._database.read() as session:
            return await spendings(session, channel)

    async def open(self, channel: str | None = None) -> list[Rollout]:
        """Return the rollouts that have not ended, oldest first."""
        query = select(Rollout).where(col(Rollout.phase).in_(OPEN))
        if channel is not None:
            query = query.where(Rollout.channel == channel)
        async with self._database.read() as session:
            return list(await session.exec(query.order_by(col(Rollout.began_at))))

    async def events(self, version: str) -> Sequence[RolloutEvent]:
        """Return the decisions about a version, oldest first."""
        query = select(RolloutEvent).where(RolloutEvent.version == version)
        async with self._database.read() as session:
            return (await session.exec(query.order_by(col(RolloutEvent.id)))).all()

    async def save_verdict(self, version: str, verdict: dict[str, Any]) -> None:
        """Store the online gate's latest verdict."""
        query = update(Rollout).where(col(Rollout.version) == version).values(verdict=verdict)
        async with self._database.write() as session:
            await session.exec(query)

    async def move(
        self, before: Rollout, event: RolloutEvent, *, unmoved: bool, **values: Any
    ) -> bool:
        """Change a rollout's columns and store the event; return whether that was done.

        With `unmoved`, nothing is done if the row's phase or stages differ from `before`.
        """
        async with self._database.write() as session:
            row = await session.get_one(Rollout, before.version, with_for_update=True)
            if unmoved and (row.phase, row.stages) != (before.phase, before.stages):
                return False
            for name, value in values.items():
                setattr(row, name, value)
            session.add(event)
        return True

    def event_id(self) -> str:
        """Return an id that sorts after all earlier ones, even after a restart."""
        self._last_id = max(self._last_id + 1, time.time_ns())
        return f"{self._last_id:016x}-{secrets.token_hex(4)}"
