"""Which slot is due, and that it is run once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import update

from adapters.models import Channel
from adapters.routing.route import RouteView
from retrain.cron import cron_trigger
from retrain.models import Run
from retrain.repository import RunRepository
from retrain.run.context import Ending
from retrain.run.steps import STEPS
from retrain.schedule import Schedule, due_time
from retrain.service import RunService
from retrain.slots import slot_of
from tests.retrain.log import CHANNEL, TENANT
from tests.retrain.world import SATURDAY, House, make_config

MONDAY = cron_trigger("0 3 * * mon")
WEEK = timedelta(days=7)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def due_slot(trigger: CronTrigger, now: datetime, grace: timedelta) -> str | None:
    fired = due_time(trigger, now, grace)
    return None if fired is None else slot_of(fired)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        ("2026-11-16T02:59:59", "2026-w46"),
        ("2026-11-16T03:00:00", "2026-w47"),
        ("2026-11-21T12:00:00", "2026-w47"),
        ("2026-11-23T02:59:59", "2026-w47"),
        ("2027-01-04T03:00:00", "2027-w01"),
        ("2021-01-01T00:00:00", "2020-w53"),
    ],
)
def test_the_slot_is_the_week_of_the_last_firing(now: str, slot: str) -> None:
    assert due_slot(MONDAY, at(now), WEEK) == slot


def test_a_slot_missed_for_too_long_is_given_up() -> None:
    assert due_slot(MONDAY, at("2026-11-21T12:00:00"), timedelta(days=1)) is None


def test_of_several_missed_weeks_only_the_last_is_due() -> None:
    assert due_slot(MONDAY, at("2026-11-21T12:00:00"), timedelta(days=60)) == "2026-w47"


def test_a_schedule_that_never_fires_is_never_due() -> None:
    assert due_slot(cron_trigger("0 0 30 2 *"), SATURDAY, WEEK) is None


@given(MOMENTS)
def test_with_a_week_of_grace_some_slot_is_always_due(now: datetime) -> None:
    fired = due_time(MONDAY, now, WEEK)
    assert fired is not None
    assert now - WEEK < fired <= now
    assert (fired.weekday(), fired.hour, fired.minute) == (0, 3, 0)


@given(MOMENTS, st.timedeltas(timedelta(0), WEEK))
def test_slots_follow_the_clock(now: datetime, later: timedelta) -> None:
    first, second = due_slot(MONDAY, now, WEEK), due_slot(MONDAY, now + later, WEEK)
    assert first is not None
    assert second is not None
    assert first <= second


def schedule(house: House, service: RunService | None = None) -> Schedule:
    runs = RunRepository(house.database)
    return Schedule(service or house.service(), runs, house.config, house.clock)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that end as soon as they begin."""

    async def skips(context: Any) -> Any:
        return Ending("skipped", "a test")

    monkeypatch.setitem(STEPS, "snapshot", skips)


@pytest.mark.anyio
async def test_a_due_slot_is_run_once(house: House, quick: None) -> None:
    ticking = schedule(house)
    assert await ticking.tick() == ["pawl-2026-w47"]
    assert await ticking.tick() == []


@pytest.mark.anyio
async def test_a_channel_made_since_has_missed_nothing(house: House, quick: None) -> None:
    async with house.database.write() as session:
        await session.exec(update(Channel).values(created_at=SATURDAY))
    assert await schedule(house).tick() == []
    house.clock.forward(days=7)
    assert await schedule(house).tick() == ["pawl-2026-w48"]


@pytest.mark.anyio
async def test_channels_take_turns(house: House) -> None:
    created = SATURDAY - timedelta(days=100)
    async with house.database.write() as session:
        session.add(Channel(name="sales", tenant=TENANT, created_at=created))
    house.registry.more = {"sales": RouteView("sales", TENANT)}
    service = house.service()
    ticking = schedule(house, service)
    started = []
    for _ in range(3):
        began = await ticking.tick()
        assert await ticking.tick() == []
        started += began
        for run in began:
            await service.wait(run)
    assert started == ["pawl-2026-w47", "sales-2026-w47"]


@pytest.mark.anyio
async def test_a_switched_off_schedule_starts_nothing(house: House) -> None:
    house.config = make_config(enabled=False)
    assert await schedule(house).tick() == []


@pytest.mark.anyio
async def test_a_slot_finished_by_hand_is_not_run_again(house: House) -> None:
    service = house.service()
    run = await service.start_run(CHANNEL)
    assert (await service.wait(run.id)).state == "promoted"
    assert await schedule(house).tick() == []


@pytest.mark.anyio
async def test_a_slot_waits_while_the_channel_has_a_run(house: House) -> None:
    house.config = make_config("hangs")
    service = house.service()
    run = await service.start_run(CHANNEL)
    assert await schedule(house).tick() == []
    await service.cancel(run.id)
    house.config = make_config("good")
    service = house.service()
    assert await schedule(house, service).tick() == ["pawl-2026-w47"]
    assert (await service.wait("pawl-2026-w47")).state == "promoted"


@pytest.mark.anyio
async def test_a_tick_resumes_what_was_left_behind(house: House) -> None:
    house.config = make_config("good", enabled=False)
    service = house.service()
    runs = RunRepository(house.database)
    left = Run(
        id="pawl-2026-w47",
        channel=CHANNEL,
        tenant="shop",
        slot="2026-w47",
        attempt=0,
        trigger="schedule",
        state="running",
        step="snapshot",
        created_at=SATURDAY,
        fence=1,
        figures={},
    )
    await runs.insert(left)
    await schedule(house, service).tick()
    assert (await service.wait("pawl-2026-w47")).state == "promoted"


@pytest.mark.anyio
async def test_the_scheduler_looks_at_once_when_it_starts(house: House, quick: None) -> None:
    service = house.service()
    looking = schedule(house, service)
    looking.start()
    await looking.finish()
    assert [run.id for run in await service.runs(CHANNEL)] == ["pawl-2026-w47"]


def test_slots_are_named_by_iso_weeks() -> None:
    assert slot_of(datetime(2024, 12, 30, tzinfo=UTC)) == "2025-w01"
