"""Runs that start on enough fresh feedback."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from retrain.config import EnoughConfig, RetrainConfig
from retrain.enough import Situation, is_enough, may_start
from retrain.repository import RunRepository
from retrain.rollout.service import RolloutService
from retrain.run.context import Ending
from retrain.run.steps import STEPS
from retrain.schedule import Schedule
from retrain.service import RunService
from tests.retrain.log import CHANNEL, Log
from tests.retrain.world import SATURDAY, Clock, House, make_config

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FOUR_HOURS = timedelta(hours=4)
VOTES = 10
NEVER_DUE = "0 0 29 2 *"
"""A weekly slot that is years away."""


@pytest.mark.pure
@given(st.one_of(st.none(), st.timedeltas(-2 * FOUR_HOURS, 2 * FOUR_HOURS)), st.booleans())
def test_a_run_may_start_without_a_rollout_and_long_enough_after_the_last_one(
    since: timedelta | None, rolling_out: bool
) -> None:
    last = None if since is None else NOW - since
    allowed = may_start(Situation(last, rolling_out), 4, NOW)
    assert allowed == (not rolling_out and (since is None or since >= FOUR_HOURS))


@pytest.mark.pure
@pytest.mark.parametrize(("votes", "enough"), [(99, False), (100, True), (1_000, True)])
def test_votes_are_enough_from_their_number_on(votes: int, enough: bool) -> None:
    assert is_enough(votes, EnoughConfig()) == enough


@pytest.mark.pure
def test_without_a_canary_it_is_refused_unless_a_week_lies_between_two_starts() -> None:
    with pytest.raises(ValidationError, match=r'rollout = "canary".*enough.hours = 168'):
        RetrainConfig(when="enough")
    assert RetrainConfig(when="enough", enough=EnoughConfig(hours=168)).when == "enough"
    assert RetrainConfig(when="enough", approval="manual").when == "enough"


def enough(**more: Any) -> RetrainConfig:
    values: dict[str, Any] = {
        "when": "enough",
        "enough": EnoughConfig(votes=VOTES, hours=4),
        "rollout": "canary",
        "cron": NEVER_DUE,
    }
    return make_config(**{**values, **more})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that end when their snapshot is taken."""

    async def skips(context: Any) -> Any:
        await context.save(cut_off=context.environment.clock())
        return Ending("skipped", "a test")

    monkeypatch.setitem(STEPS, "snapshot", skips)


@pytest.fixture
def eager(house: House, quick: None) -> House:
    """A house whose runs start on feedback and end at once."""
    house.config = enough()
    return house


class Servers:
    """Schedulers of one house, each with a clock of its own."""

    def __init__(self, house: House, clocks: list[Clock]) -> None:
        self.house = house
        self.services: list[RunService] = []
        self.schedules: list[Schedule] = []
        usual = house.clock
        for clock in clocks:
            house.clock = clock
            service = house.service()
            self.services.append(service)
            runs = RunRepository(house.database)
            self.schedules.append(Schedule(service, runs, house.config, clock))
        house.clock = usual

    async def tick(self) -> list[str]:
        found = await asyncio.gather(*(schedule.tick() for schedule in self.schedules))
        started = [run for runs in found for run in runs]
        for run in started:
            for service in self.services:
                await service.wait(run)
        return started


async def vote(house: House, count: int, at: datetime, *, user: str = "", up: bool = True) -> None:
    log = Log(at - timedelta(minutes=5), prefix=f"{at.timestamp()}-{user}-")
    for number in range(count):
        who = user or f"rater {number}"
        log.say("thumbs", log.ask(f"Why {number}?", "So.", user=who), up)
    await log.write(house.database)


def one(house: House) -> Servers:
    return Servers(house, [house.clock])


@pytest.mark.anyio
async def test_a_run_starts_once_there_are_enough_fresh_votes(eager: House) -> None:
    servers = one(eager)
    assert await servers.tick() == ["pawl-2026-w47.1"]
    eager.clock.forward(hours=5)
    assert await servers.tick() == []
    await vote(eager, 60, eager.clock.now)
    assert await servers.tick() == ["pawl-2026-w47.2"]
    first, second = await servers.services[0].runs(CHANNEL)
    assert (first.trigger, first.slot, second.attempt) == ("evidence", "2026-w47", 1)


@pytest.mark.anyio
@pytest.mark.parametrize("up", [True, False])
async def test_votes_count_whatever_they_say(eager: House, up: bool) -> None:
    await one(eager).tick()
    eager.clock.forward(hours=5)
    await vote(eager, 60, eager.clock.now, up=up)
    assert await one(eager).tick() == ["pawl-2026-w47.2"]


@pytest.mark.anyio
async def test_a_dry_run_shows_how_many_votes_are_missing(eager: House) -> None:
    plan = await eager.service().dry_run(CHANNEL)
    assert plan.votes_needed == VOTES
    assert plan.fresh_votes >= plan.pairs > 0


@pytest.mark.anyio
async def test_two_starts_lie_hours_apart(eager: House) -> None:
    servers = one(eager)
    await servers.tick()
    eager.clock.forward(hours=3.9)
    await vote(eager, 60, eager.clock.now)
    assert await servers.tick() == []
    eager.clock.forward(hours=0.1)
    assert await servers.tick() == ["pawl-2026-w47.2"]


@pytest.mark.anyio
async def test_what_a_held_out_rater_says_does_not_count(eager: House) -> None:
    service = eager.service()
    before = await service.fresh_votes(CHANNEL)
    counted = []
    for number in range(20):
        await vote(eager, 1, eager.clock.now, user=f"someone {number}")
        counted.append(await service.fresh_votes(CHANNEL) - before)
    assert 0 < counted[-1] < 20


@pytest.mark.anyio
async def test_a_vote_that_is_changed_counts_once(eager: House) -> None:
    service = eager.service()
    log = Log(eager.clock.now - timedelta(minutes=1), prefix="changed-")
    asked = log.ask("Why?", "So.", user="user 1")
    log.say("thumbs", asked, True)
    await log.write(eager.database)
    once = await service.fresh_votes(CHANNEL)
    again = Log(eager.clock.now - timedelta(seconds=30), prefix="again-")
    again.say("thumbs", asked, False)
    await again.write(eager.database)
    assert await service.fresh_votes(CHANNEL) == once


@pytest.mark.anyio
async def test_no_run_starts_while_a_rollout_is_under_way(
    eager: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def under_way(service: RolloutService, channel: str) -> str:
        return "2026-w46-00000a"

    with monkeypatch.context() as patch:
        patch.setattr(RolloutService, "under_way", under_way)
        for _ in range(5):
            assert await one(eager).tick() == []
            eager.clock.forward(minutes=1)
    assert await one(eager).tick() == ["pawl-2026-w47.1"]


@pytest.mark.anyio
async def test_a_run_that_a_rollout_overtakes_is_not_retried_at_once(
    eager: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overtaken(context: Any) -> Any:
        return Ending("skipped", "a rollout began in between")

    monkeypatch.setitem(STEPS, "snapshot", overtaken)
    servers = one(eager)
    assert await servers.tick() == ["pawl-2026-w47.1"]
    for _ in range(5):
        eager.clock.forward(minutes=40)
        assert await servers.tick() == []
    eager.clock.forward(minutes=40)
    assert await servers.tick() == ["pawl-2026-w47.2"]


@pytest.mark.anyio
async def test_the_weekly_slot_is_the_latest_start(eager: House) -> None:
    eager.config = enough(cron="0 3 * * mon", enough=EnoughConfig(votes=10_000))
    servers = one(eager)
    assert await servers.tick() == ["pawl-2026-w47"]
    eager.clock.forward(days=1)
    assert await servers.tick() == []
    eager.clock.forward(days=1)
    assert await servers.tick() == ["pawl-2026-w48"]


@pytest.mark.anyio
async def test_the_weekly_slot_keeps_the_hours_between_two_starts(eager: House) -> None:
    eager.clock.set(days=1, hours=14)  # Monday, an hour before the slot
    eager.config = enough(cron="0 3 * * mon")
    servers = one(eager)
    assert await servers.tick() == ["pawl-2026-w47"]
    await vote(eager, 60, eager.clock.now + timedelta(minutes=30))
    eager.clock.forward(hours=2)
    assert await servers.tick() == []
    eager.clock.forward(hours=2)
    assert await servers.tick() == ["pawl-2026-w48"]


@pytest.mark.anyio
async def test_a_clock_that_was_ahead_blocks_nothing(eager: House) -> None:
    servers = one(eager)
    eager.clock.set(days=300)
    await vote(eager, 60, eager.clock.now)
    assert len(await servers.tick()) == 1
    eager.clock.set(days=-300)
    await vote(eager, 60, eager.clock.now)
    assert await servers.tick() == ["pawl-2026-w47.1"]


@pytest.mark.anyio
async def test_a_restart_does_not_start_a_run_again(eager: House) -> None:
    assert await one(eager).tick() == ["pawl-2026-w47.1"]
    assert await one(eager).tick() == []


@pytest.mark.anyio
async def test_versions_are_named_by_the_week(house: House) -> None:
    house.config = enough()
    service = house.service()
    await Schedule(service, RunRepository(house.database), house.config, house.clock).tick()
    run = await service.wait("pawl-2026-w47.1")
    assert run.state == "rolling_out"
    assert str(run.version).startswith("2026-w47-")


@pytest.mark.anyio
async def test_a_person_may_start_a_run_after_a_verdict_of_the_week(house: House) -> None:
    house.config = enough(approval="manual", rollout="direct")
    service = house.service()
    run = await service.start_run(CHANNEL)
    assert (await service.wait(run.id)).state == "rolling_out"
    await house.world().rollouts.refuse(
        str((await service.run(run.id)).version), actor="a", reason=""
    )
    assert (await service.start_run(CHANNEL)).id == "pawl-2026-w47.2"


@pytest.mark.anyio
async def test_of_several_servers_one_starts_the_run(shared_house: House, quick: None) -> None:
    shared_house.config = enough()
    clocks = [Clock(SATURDAY + timedelta(minutes=minutes)) for minutes in (-50, 0, 50)]
    servers = Servers(shared_house, clocks)
    assert await servers.tick() == ["pawl-2026-w47.1"]
    assert await servers.tick() == []


@pytest.mark.anyio
async def test_a_start_decided_before_another_one_is_void(eager: House) -> None:
    service = eager.service()
    first = await service.start_run(CHANNEL, trigger="evidence", known=0)
    await service.wait(first.id)
    runs = RunRepository(eager.database)
    schedule = Schedule(service, runs, eager.config, eager.clock)
    assert await schedule._start(CHANNEL, "2026-w47", "evidence", known=0) == []


HOURS = st.lists(
    st.tuples(
        st.floats(0.1, 6),
        st.tuples(*(st.sampled_from([-1.0, 0.0, 1.0]),) * 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.anyio
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(hours=HOURS)
async def test_however_clocks_jump_starts_keep_their_distance(
    eager: House, hours: list[tuple[float, tuple[float, ...], bool]]
) -> None:
    clocks = [Clock(eager.clock.now) for _ in range(3)]
    servers = Servers(eager, clocks)
    known = {run.id for run in await servers.services[0].runs(CHANNEL)}
    for later, wrong, busy in hours:
        eager.clock.forward(hours=later)
        if busy:
            await vote(eager, 60, eager.clock.now - timedelta(hours=1))
        for clock, error in zip(clocks, wrong, strict=True):
            clock.now = eager.clock.now + timedelta(hours=error)
        assert len(await servers.tick()) <= 1
    new = [run for run in await servers.services[0].runs(CHANNEL) if run.id not in known]
    starts = sorted(run.created_at for run in new)
    assert all(b - a >= FOUR_HOURS for a, b in pairwise(starts))
    eager.clock.forward(days=1)  # apart from the next example
