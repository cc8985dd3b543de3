"""Runs that are cancelled, die, change hands, or are stopped by what they run on."""

import asyncio
import os
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from retrain.repository import Lease, RunRepository
from retrain.run.context import RunContext
from retrain.run.steps import STEPS, train
from retrain.service import OWNERS_MAX
from tests.retrain.log import CHANNEL
from tests.retrain.runs import (
    RUN,
    interrupted,
    interrupted_after,
    left_run,
    ran,
    reached,
    taken_up,
)
from tests.retrain.world import SATURDAY, House, make_config
from tests.waiting import eventually

pytestmark = pytest.mark.anyio


async def test_cancelling_stops_the_trainer(house: House) -> None:
    house.config = make_config("hangs")
    service = house.service()
    run = await service.start_run(CHANNEL)
    await reached(house, service, "events.jsonl")
    pid = int((house.folder / run.id / "trainer.pid").read_text().split()[0])
    ended = await service.cancel(run.id)
    assert (ended.state, ended.reason) == ("cancelled", "cancelled during the step train")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_cancelling_refuses_the_candidate(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = asyncio.Event()

    async def waits(context: object) -> None:
        began.set()
        await asyncio.Event().wait()

    monkeypatch.setitem(STEPS, "evaluate", waits)
    service = house.service()
    run = await service.start_run(CHANNEL)
    await began.wait()
    ended = await service.cancel(run.id)
    assert ended.state == "cancelled"
    assert house.registry.called("reject") == [ended.version]


async def test_a_run_that_is_rolling_out_is_finished_before_it_can_be_cancelled(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, began, may_go_on = STEPS["roll out"], asyncio.Event(), asyncio.Event()

    async def waits(context: Any) -> Any:
        began.set()
        await may_go_on.wait()
        return await original(context)

    monkeypatch.setitem(STEPS, "roll out", waits)
    service = house.service()
    run = await service.start_run(CHANNEL)
    await began.wait()
    cancelling = asyncio.create_task(service.cancel(run.id))

    async def requested() -> bool:
        return (await service.run(run.id)).cancel_requested

    await eventually(requested)
    may_go_on.set()
    assert (await cancelling).state == "promoted"


async def test_an_owner_that_cannot_renew_its_lease_stops_its_trainer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew = RunRepository.renew

    async def away(*arguments: Any) -> Any:
        if next(house.folder.glob("*/trainer.pid"), None) is None:
            return await renew(*arguments)
        raise OperationalError("", None, Exception())

    monkeypatch.setattr(RunRepository, "renew", away)
    house.config = make_config("hangs", lease_seconds=0.3)
    service = house.service()
    run = await service.start_run(CHANNEL)
    assert (await service.wait(run.id)).state == "running"
    pid = int((house.folder / run.id / "trainer.pid").read_text().split()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_one_trainer_runs_at_a_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    world, running, most = house.world(), 0, 0

    async def trains(context: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    monkeypatch.setattr("retrain.run.steps.train_adapter", trains)
    contexts = [RunContext(world, left_run(), Lease(RUN, "owner", 1)) for _ in range(3)]
    await asyncio.gather(*(train(context) for context in contexts))
    assert most == 1


async def test_cancelling_a_run_that_ended_changes_nothing(house: House) -> None:
    run = await ran(house)
    assert (await house.service().cancel(run.id)).state == "promoted"


@pytest.mark.parametrize("step", list(STEPS))
async def test_a_run_whose_process_died_goes_on_where_it_was(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await interrupted(house, monkeypatch, step)
    service = house.service()
    assert (await service.run(RUN)).step == step
    assert await taken_up(house, service) == [RUN]
    ended = await service.wait(RUN)
    assert ended.state == "promoted"
    assert len(house.registry.called("add")) == len(house.registry.called("promote")) == 1


@pytest.mark.parametrize("step", list(STEPS))
async def test_a_step_that_died_at_its_end_is_repeated_without_harm(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await interrupted_after(house, monkeypatch, step)
    service = house.service()
    await taken_up(house, service)
    assert (await service.wait(RUN)).state == "promoted"
    assert len(house.registry.called("add")) == len(house.registry.called("promote")) == 1


async def test_a_refusal_whose_process_died_is_still_a_refusal(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.chat.candidate = "bad words"
    await interrupted_after(house, monkeypatch, "roll out")
    service = house.service()
    await taken_up(house, service)
    assert (await service.wait(RUN)).state == "rejected"


async def test_a_run_cancelled_while_nobody_held_it_takes_no_further_step(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "decide")
    service = house.service()
    await service.cancel(RUN)
    await taken_up(house, service)
    ended = await service.wait(RUN)
    assert ended.state == "cancelled"
    assert house.registry.route.live == "base"
    assert house.registry.called("reject") == [ended.version]


async def test_a_cancelled_run_that_had_begun_to_roll_out_is_finished(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted_after(house, monkeypatch, "roll out")
    service = house.service()
    await service.cancel(RUN)
    await taken_up(house, service)
    assert (await service.wait(RUN)).state == "promoted"


async def test_a_snapshot_that_was_changed_is_not_evaluated_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "evaluate")
    with (house.folder / RUN / "snapshot" / "held_out.jsonl").open("a") as file:
        file.write("\n")
    service = house.service()
    await taken_up(house, service)
    ended = await service.wait(RUN)
    assert (ended.state, str(ended.reason).split(":")[0]) == ("failed", "SnapshotError")


async def test_a_run_that_is_held_is_not_taken_over(house: House) -> None:
    house.config = make_config("hangs")
    service = house.service()
    run = await service.start_run(CHANNEL)
    assert await house.service().resume() == []
    await service.cancel(run.id)


async def test_a_clock_that_was_set_back_does_not_keep_a_dead_owners_lease_alive(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "train")
    house.clock.set(days=-14)
    service = house.service()
    assert await taken_up(house, service) == [RUN]
    await service.wait(RUN)


async def test_an_owner_that_wakes_up_late_writes_nothing(house: House) -> None:
    house.config = make_config("hangs")
    asleep = house.service()
    await asleep.start_run(CHANNEL)
    await reached(house, asleep, "events.jsonl")
    house.config = make_config("good")
    awake = house.service()
    assert await taken_up(house, awake) == [RUN]
    assert (await awake.wait(RUN)).state == "promoted"
    assert (await asleep.wait(RUN)).state == "promoted"
    assert len(house.registry.called("promote")) == 1


async def test_a_shutdown_leaves_the_run_for_the_next_process(house: House) -> None:
    house.config = make_config("hangs")
    service = house.service()
    await service.start_run(CHANNEL)
    await reached(house, service, "events.jsonl")
    await service.close()
    assert (await service.run(RUN)).state == "running"
    house.config = make_config("good")
    heir = house.service()
    await heir.start()
    assert (await heir.wait(RUN)).state == "promoted"


async def test_a_run_that_no_process_survives_is_given_up(house: House) -> None:
    async with house.database.write() as session:
        session.add(left_run(step="train", owner="gone", lost_owners=OWNERS_MAX - 1))
    service = house.service()
    assert await service.resume() == []
    assert (await service.run(RUN)).state == "failed"


async def test_a_run_is_not_given_up_for_servers_that_were_stopped(house: House) -> None:
    async with house.database.write() as session:
        session.add(left_run(step="train", fence=3 * OWNERS_MAX, owner=None))
    assert await house.service().resume() == [RUN]


async def test_the_last_success_is_told_at_start(house: House) -> None:
    await ran(house)
    house.watcher.successes.clear()
    await house.service().start()
    assert house.watcher.successes == [SATURDAY]


async def test_a_report_that_cannot_be_written_leaves_the_run_to_its_next_owner(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    service = house.service()
    with monkeypatch.context() as patch:
        patch.setattr("retrain.run.runner.write_report", full)
        await service.start_run(CHANNEL)
        assert (await service.wait(RUN)).state == "running"
        await service.close()
    assert await taken_up(house, service) == [RUN]
    assert (await service.wait(RUN)).state == "promoted"


async def test_an_event_that_a_power_cut_tore_does_not_end_the_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted_after(house, monkeypatch, "train")
    with (house.folder / RUN / "events.jsonl").open("ab") as events:
        events.write(b'{"event": "sa')
    service = house.service()
    await taken_up(house, service)
    ended = await service.wait(RUN)
    assert (ended.state, ended.figures["train_seconds"]) == ("promoted", 1.5)
