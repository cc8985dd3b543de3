"""Simulates weeks of several schedulers on one database, with clocks that jump.

Each scheduler has a database connection, a run service and a schedule, as a server has. Only time
is simulated; slots, runs (which find nothing to train on and end `skipped`), leases and the
database are real. Owners of runs die, and others take over their runs.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapters.config import AdaptersConfig
from adapters.ports import RegistryObserver
from adapters.service import Registry
from adapters.store.local import ArtifactStore
from adapters.vetting.base_model import BaseModelInfo
from retrain.config import RetrainConfig
from retrain.cron import cron_trigger
from retrain.launchers.local import SubprocessLauncher
from retrain.ports import Answer, ChatError, RunObserver
from retrain.run.context import RunEnvironment
from retrain.schedule import Schedule, due_time
from retrain.service import RunService
from retrain.slots import slot_of
from server.database.database import Database
from server.engine.fake.engine import FakeEngine

CHANNEL = "pawl"
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday; a slot is due each Monday at 03:00."""
DUE_HOUR = 3
HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)
DEATHS = 0.4
"""Share of the runs whose first owner dies."""
WEEKLY = RetrainConfig(cron=f"0 {DUE_HOUR} * * mon")
ALSO_ON_VOTES = WEEKLY.model_copy(update={"when": "enough", "rollout": "canary"})
"""Votes may start runs as well; nobody votes here, so the weekly slot stays the latest start."""
_TRIGGER = cron_trigger(f"0 {DUE_HOUR} * * mon")


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant of true time: which schedulers tick, and the error of each one's clock.

    If `dies`, a scheduler that has just started a run dies before the run ends.
    """

    at: datetime
    ticking: frozenset[int]
    wrong: tuple[timedelta, ...]
    dies: bool = False


@dataclass(slots=True)
class Outcome:
    """The observed slots by outcome.

    `seen` slots were due by some scheduler's clock. `due` are those that must run: of several
    missed weeks only the last is made up for.
    """

    weeks: float = 0
    ticks: int = 0
    jumps: int = 0
    deaths: int = 0
    seen: set[str] = field(default_factory=set)
    due: set[str] = field(default_factory=set)
    started: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    unended: int = 0

    @property
    def doubled(self) -> int:
        """Slots whose run started or ended more than once."""
        twice = {slot for slot, count in self.started.items() if count > 1}
        return len(twice | {slot for slot, count in self.ended.items() if count > 1})

    @property
    def lost(self) -> int:
        """Slots that were due while a scheduler ran, but have no run that ended."""
        return len(self.due - self.ended.keys())

    @property
    def good(self) -> bool:
        """Whether each slot that was due had one run."""
        invented = self.ended.keys() - self.seen
        return not (self.doubled or self.lost or self.unended or invented)


class _Nobody:
    """A chat that always fails, since no run gets far enough to use it."""

    async def answer(self, **_: object) -> Answer:
        raise ChatError("there is no chat")


class _Scheduler:
    """The scheduler of one server, with a clock of its own."""

    def __init__(
        self, database: Database, registry: Registry, folder: Path, config: RetrainConfig
    ) -> None:
        self.now = BEGIN
        self.passed = 0.0
        self.world = RunEnvironment(
            database=database,
            registry=registry,
            adapter_path=lambda version: folder / version.folder,
            chat=_Nobody(),
            counterpart_chat=_Nobody(),
            judge=None,
            launcher=SubprocessLauncher(config.trainer),
            config=config,
            base=BaseModelInfo("fake", "f" * 64, 8),
            clock=lambda: self.now,
            observer=RunObserver(),
            folder=folder / "runs",
            monotonic=lambda: self.passed,
        )
        self.service = RunService(self.world)
        self.schedule = Schedule(self.service, self.world.runs, config, lambda: self.now)

    async def tick(self, *, dies: bool) -> list[str]:
        """Check the schedule, as it does every few seconds; return the ids of started runs."""
        started = await self.schedule.tick()
        if dies:
            for run in started:
                _kill(run)
        return started


def _kill(run: str) -> None:
    """Cancel the task of a run so that it writes nothing more."""
    for task in asyncio.all_tasks():
        if task.get_name() == run:
            task.cancel()


async def live_through(
    databases: Sequence[Database],
    folder: Path,
    moments: Iterable[Moment],
    config: RetrainConfig = WEEKLY,
) -> Outcome:
    """Run the moments with one scheduler on each of `databases`, which are the same database."""
    outcome, wrong = Outcome(), None
    async with _schedulers(databases, folder, config) as schedulers:
        for moment in moments:
            for number, scheduler in enumerate(schedulers):
                scheduler.passed = (moment.at - BEGIN).total_seconds()
                scheduler.now = moment.at + moment.wrong[number]
            outcome.jumps += wrong is not None and wrong != moment.wrong
            wrong = moment.wrong
            await _tick(schedulers, moment, outcome)
            outcome.weeks = (moment.at - BEGIN) / WEEK
        await _count(schedulers[0], outcome)
    return outcome


@asynccontextmanager
async def _schedulers(
    databases: Sequence[Database], folder: Path, config: RetrainConfig
) -> AsyncIterator[list[_Scheduler]]:
    def long_ago() -> datetime:
        return BEGIN - 60 * WEEK

    made = []
    for database in databases:
        base = BaseModelInfo("fake", "f" * 64, 8)
        store = ArtifactStore(folder / "adapters")
        registry = Registry(
            database, FakeEngine(), store, long_ago, AdaptersConfig(), base, RegistryObserver()
        )
        await registry.start()
        made.append(_Scheduler(database, registry, folder, config))
    yield made
    for scheduler in made:
        await scheduler.service.close()


async def _tick(schedulers: Sequence[_Scheduler], moment: Moment, outcome: Outcome) -> None:
    ticking = [schedulers[number] for number in sorted(moment.ticking)]
    fired = [due_time(_TRIGGER, one.now, WEEK) for one in ticking]
    seen = {slot_of(moment) for moment in fired if moment is not None}
    outcome.seen |= seen
    outcome.due |= {slot for slot in seen if slot > max(outcome.started, default="")}
    outcome.ticks += len(ticking)
    found = await asyncio.gather(*(one.tick(dies=moment.dies) for one in ticking))
    started = [run for runs in found for run in runs]
    outcome.started.update(run.removeprefix(f"{CHANNEL}-") for run in started)
    outcome.deaths += moment.dies * len(started)
    for run in started:
        await asyncio.gather(*(one.service.wait(run) for one in ticking))
    for one in ticking:  # runs taken over from others end, too
        for left in await one.world.runs.running():
            await one.service.wait(left.id)


async def _count(scheduler: _Scheduler, outcome: Outcome) -> None:
    for run in await scheduler.world.runs.of_channel(CHANNEL):
        if run.state == "running":
            outcome.unended += 1
        else:
            outcome.ended[run.slot] += 1


def weeks(count: int, schedulers: int, rng: random.Random) -> Iterator[Moment]:
    """Yield the moments of `count` weeks, most of them around the instants when slots are due.

    Clocks jump forward and back by an hour: when summer time begins and ends (as on a machine that
    keeps local time), at random, and at the due instant. Sometimes one or all schedulers are down
    for up to three weeks, and owners die.
    """
    wrong = [timedelta()] * schedulers
    down_until = [BEGIN] * schedulers
    for week in range(count):
        monday = BEGIN + week * WEEK
        due = monday + DUE_HOUR * HOUR
        _go_down(down_until, monday, rng)
        for at in _instants(monday, due, rng):
            if rng.random() < 0.15 or (abs(at - due) < timedelta(minutes=1) and rng.random() < 0.5):
                wrong = _jump(wrong, rng)
            if (at.month, at.weekday()) in {(3, 6), (10, 6)} and at.day > 24:
                wrong = [HOUR if at.month == 3 else timedelta()] * schedulers
            up = frozenset(one for one in range(schedulers) if down_until[one] <= at)
            yield Moment(at, up, tuple(wrong), dies=rng.random() < DEATHS)
    end = BEGIN + count * WEEK
    for minutes in range(0, 60, 10):  # the runs of the last dead owner are taken over
        every = frozenset(range(schedulers))
        yield Moment(end + timedelta(minutes=minutes), every, (timedelta(),) * schedulers)


def _instants(monday: datetime, due: datetime, rng: random.Random) -> list[datetime]:
    near = [due + timedelta(seconds=rng.uniform(-7200, 7200)) for _ in range(3)]
    there = [due + timedelta(seconds=seconds) for seconds in (-1, 0, 40, 80)]
    anywhere = [monday + timedelta(seconds=rng.uniform(0, WEEK.total_seconds())) for _ in range(4)]
    return sorted([*near, *there, *anywhere])


def _jump(wrong: Sequence[timedelta], rng: random.Random) -> list[timedelta]:
    """Move one clock or all of them an hour forward or back, or set them right again."""
    jump = rng.choice([-HOUR, HOUR])
    moved = range(len(wrong)) if rng.random() < 0.3 else [rng.randrange(len(wrong))]
    return [
        max(-HOUR, min(HOUR, by + jump)) if number in moved else by
        for number, by in enumerate(wrong)
    ]


def _go_down(down_until: list[datetime], monday: datetime, rng: random.Random) -> None:
    if rng.random() < 0.03:
        down_until[:] = [monday + rng.uniform(0.5, 3) * WEEK] * len(down_until)
    elif rng.random() < 0.1:
        down_until[rng.randrange(len(down_until))] = monday + rng.uniform(0, 2) * WEEK
