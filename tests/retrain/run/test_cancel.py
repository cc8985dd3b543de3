"""A run can be cancelled at every step, by any server, and leaves nothing behind."""

import asyncio
import os
from typing import Any

import pytest

from retrain.config import TrainerConfig
from retrain.models import Run
from retrain.run.steps import ROLL_OUT, STEPS
from tests.retrain.log import CHANNEL
from tests.retrain.runs import RUN, interrupted, reached, taken_up
from tests.retrain.world import House, make_config
from tests.waiting import eventually

pytestmark = pytest.mark.anyio

BEFORE = [step for step in STEPS if step != ROLL_OUT]
LEASE = 3.0
"""Seconds: its owner looks for word every half of one, and a busy machine does not lose it."""


class Held:
    """A step that is under way until somebody stops it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        self.began = asyncio.Event()
        monkeypatch.setitem(STEPS, step, self._hold)

    async def _hold(self, _context: object) -> None:
        self.began.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("step", BEFORE)
@pytest.mark.parametrize("by", ["its owner", "another server"])
async def test_a_run_is_cancelled_at_whatever_step(
    shared_house: House, monkeypatch: pytest.MonkeyPatch, step: str, by: str
) -> None:
    house = shared_house
    house.config = make_config(lease_seconds=LEASE)
    held = Held(monkeypatch, step)
    owner = house.service()
    await owner.start_run(CHANNEL)
    await held.began.wait()
    await (owner if by == "its owner" else house.service()).cancel(RUN)
    ended = await owner.wait(RUN)
    assert (ended.state, ended.reason) == ("cancelled", f"cancelled during the step {step}")
    assert house.registry.route.live == "base"
    assert {row.state for row in house.registry.rows.values()} <= {"rejected"}


async def test_a_trainer_that_hears_no_signal_is_killed_in_time(house: House) -> None:
    deaf = make_config("deaf")
    command = deaf.trainer.command
    house.config = make_config(trainer=TrainerConfig(command=command, terminate_seconds=0.2))
    service = house.service()
    await service.start_run(CHANNEL)
    await reached(house, service, "events.jsonl")
    pid = int((house.folder / RUN / "trainer.pid").read_text().split()[0])
    assert (await service.cancel(RUN)).state == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_candidate_that_the_run_did_not_know_of_goes_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "evaluate")
    async with house.database.write() as session:
        run: Any = await session.get(Run, RUN)
        run.version, run.step = None, "vet"
    service = house.service()
    await service.cancel(RUN)
    await taken_up(house, service)
    assert (await service.wait(RUN)).state == "cancelled"
    assert [row.state for row in house.registry.rows.values()] == ["rejected"]


async def test_a_cancelled_run_keeps_its_lease_until_its_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.config = make_config(lease_seconds=LEASE)
    service = house.service()
    original, began, may_go_on = STEPS[ROLL_OUT], asyncio.Event(), asyncio.Event()

    async def rolls_out(context: Any) -> Any:
        began.set()
        await may_go_on.wait()
        return await original(context)

    monkeypatch.setitem(STEPS, ROLL_OUT, rolls_out)
    await service.start_run(CHANNEL)
    await began.wait()
    cancelling = asyncio.create_task(service.cancel(RUN))
    before = (await service.run(RUN)).lease_until
    house.clock.forward(seconds=1)

    async def renewed() -> bool:
        return (await service.run(RUN)).lease_until != before

    await eventually(renewed)
    may_go_on.set()
    assert (await cancelling).state == "promoted"
