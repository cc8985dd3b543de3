"""A run has one owner: it keeps the run while it lives, and changes nothing once it has lost it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.launchers.local import SubprocessTrainer
from retrain.models import Run
from retrain.repository import Lease, RunRepository
from retrain.rollout.repository import RolloutRepository
from retrain.run.leases import BEATS, LOOK, Watch, is_over
from retrain.service import OWNERS_MAX, RunService
from tests.retrain.log import CHANNEL
from tests.retrain.runs import RUN, left_run, reached, taken_up
from tests.retrain.world import SATURDAY, House, make_config, version_row

LEASE, POLL = 30.0, 10.0
HOURS = st.timedeltas(timedelta(hours=-9), timedelta(hours=9))


# ---- when an owner counts as dead


@given(HOURS, st.floats(0, LEASE * LOOK, exclude_max=True))
def test_no_clock_takes_a_lease_that_has_just_changed(apart: timedelta, unchanged: float) -> None:
    assert not is_over(SATURDAY, SATURDAY + apart, unchanged, LEASE)


@given(HOURS, st.floats(LEASE, 10 * LEASE))
def test_no_clock_keeps_a_lease_that_does_not_change(apart: timedelta, unchanged: float) -> None:
    assert is_over(SATURDAY, SATURDAY + apart, unchanged, LEASE)


class Observer:
    """Looks at a run every `POLL` seconds; its wall clock is `apart` from the owner's."""

    def __init__(self, apart: timedelta) -> None:
        self.passed = 0.0
        self.apart = apart
        self.watch = Watch(lambda: self.passed, LEASE)

    def sees_left(self, run: Run) -> bool:
        return bool(self.watch.ownerless([run], self.now + self.apart))

    @property
    def now(self) -> datetime:
        return SATURDAY + timedelta(seconds=self.passed)


def beating(observer: Observer) -> Run:
    until = observer.now + timedelta(seconds=LEASE)
    return left_run(owner="owner", lease_until=until)


@given(HOURS, st.lists(st.sampled_from([1, 1, 1, 2]), min_size=20, max_size=40))
def test_an_owner_that_misses_every_other_beat_is_never_taken_for_dead(
    apart: timedelta, gaps: list[int]
) -> None:
    observer = Observer(apart)
    run = beating(observer)
    for gap in gaps:
        for _ in range(gap * 5):
            assert not observer.sees_left(run)
            observer.passed += LEASE / BEATS / 5
        run = beating(observer)


@given(st.integers(1, BEATS - 1))
def test_where_the_clocks_agree_one_beat_a_lease_is_enough(gap: int) -> None:
    observer = Observer(timedelta())
    run = beating(observer)
    for _ in range(5):
        for _ in range(gap):
            observer.passed += LEASE / BEATS
            assert not observer.sees_left(run)
        run = beating(observer)


@given(HOURS, st.floats(0, POLL), st.floats(0, LEASE / BEATS))
def test_a_dead_owners_run_is_left_within_a_minute_of_its_death(
    apart: timedelta, first_look: float, after_a_beat: float
) -> None:
    observer = Observer(apart)
    run, died = beating(observer), after_a_beat
    observer.passed = first_look
    while not observer.sees_left(run):
        observer.passed += POLL
    assert observer.passed - died <= LEASE + 2 * POLL < 60


# ---- a lease in the database


@pytest.mark.anyio
@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_clock_that_is_set_takes_no_run_from_an_owner_that_lives(
    shared_house: House, hours: int
) -> None:
    house = shared_house
    house.config = make_config("hangs")
    service, other = house.service(), house.service()
    run = await service.start_run(CHANNEL)
    await reached(house, service, "events.jsonl")
    lease = Lease(run.id, str(run.owner), run.fence)
    assert await other.resume() == []
    house.clock.set(hours=hours)
    for _ in range(20):
        assert await other.resume() == []
        house.clock.forward(seconds=LEASE / BEATS)
        await house.world().runs.renew(lease, house.clock(), LEASE)
    await service.cancel(run.id)


@pytest.mark.anyio
@pytest.mark.parametrize("hours", [-5, 0, 5])
async def test_a_dead_owners_run_is_taken_up_however_the_clock_is_set(
    shared_house: House, hours: int
) -> None:
    house = shared_house
    await _leave(house, owner="dead", lease_until=SATURDAY + timedelta(seconds=LEASE))
    house.clock.set(hours=hours)
    assert await taken_up(house, house.service()) == [RUN]


@pytest.mark.anyio
async def test_of_many_servers_one_takes_the_run_up(shared_house: House) -> None:
    house = shared_house
    await _leave(house, owner="dead", lease_until=SATURDAY + timedelta(seconds=LEASE))
    services = [house.service() for _ in range(4)]
    assert await _all(services) == []
    house.clock.forward(seconds=LEASE)
    assert await _all(services) == [RUN]


@pytest.mark.anyio
async def test_an_owner_that_shows_itself_at_the_last_moment_keeps_its_run(
    shared_house: House,
) -> None:
    runs = RunRepository(shared_house.database)
    await _leave(shared_house, owner="slow", lease_until=SATURDAY)
    read = await runs.get(RUN)
    await runs.renew(Lease(RUN, "slow", 1), SATURDAY, LEASE)
    assert await runs.take_over(read, "other", SATURDAY) is None


@pytest.mark.anyio
async def test_alone_on_a_database_what_was_left_is_taken_up_at_once(house: House) -> None:
    house.alone = True
    await _leave(house, owner="dead", lease_until=SATURDAY + timedelta(seconds=LEASE))
    assert await house.service().resume() == [RUN]


@pytest.mark.anyio
async def test_a_run_that_the_disk_interrupted_again_and_again_is_not_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    house.alone = True
    service = house.service()
    with monkeypatch.context() as patch:
        patch.setattr("retrain.run.runner.write_report", full)
        await service.start_run(CHANNEL)
        await service.wait(RUN)
        for _ in range(OWNERS_MAX + 1):
            assert await taken_up(house, service) == [RUN]
            await service.wait(RUN)
    await taken_up(house, service)
    assert (await service.wait(RUN)).state == "promoted"


async def _leave(house: House, **more: Any) -> None:
    async with house.database.write() as session:
        session.add(left_run(**more))


async def _all(services: list[RunService]) -> list[str]:
    return [run for runs in await asyncio.gather(*(s.resume() for s in services)) for run in runs]


# ---- an owner that slept through the loss of its lease


class Sleeper:
    """Has the first caller of a method sleep before it; whoever calls later does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, method: str) -> None:
        self.asleep, self.wake = asyncio.Event(), asyncio.Event()
        self._original: Callable[..., Awaitable[Any]] = getattr(owner, method)
        monkeypatch.setattr(owner, method, self._call)

    async def _call(self, *arguments: Any, **named: Any) -> Any:
        if not self.asleep.is_set():
            self.asleep.set()
            await self.wake.wait()
        return await self._original(*arguments, **named)


@pytest.mark.anyio
@pytest.mark.parametrize("change", ["add", "set_figures", "promote", "reject"])
async def test_an_owner_that_slept_changes_nothing_in_the_registry(
    shared_house: House, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    house = shared_house
    if change == "reject":
        house.chat.candidate = "bad words"
    sleeper = Sleeper(monkeypatch, house.registry, change)
    asleep, awake = house.service(), house.service()
    await asleep.start_run(CHANNEL)
    await sleeper.asleep.wait()
    assert await taken_up(house, awake) == [RUN]
    ended = await awake.wait(RUN)
    assert ended.state == ("rejected" if change == "reject" else "promoted")
    before = list(house.registry.calls)
    sleeper.wake.set()
    assert await asleep.wait(RUN) == ended
    assert house.registry.calls == before


@pytest.mark.anyio
async def test_an_owner_that_slept_begins_no_rollout(
    shared_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = shared_house
    house.config = make_config(rollout="canary")
    original, asleep, wake = RolloutRepository.insert, asyncio.Event(), asyncio.Event()

    async def insert(rows: RolloutRepository, *arguments: Any) -> None:
        asleep.set()
        await wake.wait()
        await original(rows, *arguments)

    monkeypatch.setattr(RolloutRepository, "insert", insert)
    service = house.service()
    await service.start_run(CHANNEL)
    await asleep.wait()
    await _taken_and_ended(house)
    wake.set()
    await service.wait(RUN)
    assert await house.world().rollouts.rows.of_channel(CHANNEL) == []


@pytest.mark.anyio
async def test_an_owner_that_slept_puts_no_adapter_in_its_place(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SubprocessTrainer.wait

    async def wait(trainer: SubprocessTrainer) -> int:
        await _taken_and_ended(house)
        return await original(trainer)

    monkeypatch.setattr(SubprocessTrainer, "wait", wait)
    service = house.service()
    await service.start_run(CHANNEL)
    await service.wait(RUN)
    assert not (house.folder / RUN / "adapter").exists()


async def _taken_and_ended(house: House) -> None:
    """Another owner takes the run over and ends it; a second time nothing happens."""
    runs = RunRepository(house.database)
    lease = await runs.take_over(await runs.get(RUN), "another", SATURDAY)
    if lease is not None:
        await runs.write(lease, state="failed", reason="a test")


# ---- a run that is given up


@pytest.mark.anyio
@pytest.mark.parametrize("known", [True, False])
async def test_the_candidate_of_a_run_that_is_given_up_is_refused(
    shared_house: House, *, known: bool
) -> None:
    house = shared_house
    house.registry.rows["2026-w47-00000a"] = version_row("2026-w47-00000a", run=RUN)
    version = "2026-w47-00000a" if known else None
    lost = {"owner": "gone", "lost_owners": OWNERS_MAX - 1}
    await _leave(house, step="evaluate", version=version, **lost)
    service = house.service()
    assert await service.resume() == []
    ended = await service.run(RUN)
    assert ended.state == "failed"
    assert "5 processes ended" in str(ended.reason)
    assert house.registry.rows["2026-w47-00000a"].state == "rejected"


# ---- what is shown of it


@pytest.mark.anyio
async def test_a_run_shows_its_owner_and_how_long_ago_that_one_showed_itself(house: House) -> None:
    until = SATURDAY + timedelta(seconds=house.config.lease_seconds)
    await _leave(house, owner="host:7:abc", lease_until=until, fence=3, lost_owners=2)
    house.clock.forward(seconds=12)
    shown = await house.service().run(RUN)
    assert (shown.owner, shown.fence, shown.lost_owners) == ("host:7:abc", 3, 2)
    assert shown.heartbeat_age_seconds == 12
