"""The runs in the database."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from retrain.errors import LeaseLostError, RunInProgressError, SlotTakenError
from retrain.models import Run
from retrain.repository import Lease, RunRepository
from tests.retrain.log import CHANNEL
from tests.retrain.world import SATURDAY, House

pytestmark = pytest.mark.anyio


def run(slot: str = "2026-w47", attempt: int = 0, **more: Any) -> Run:
    values: dict[str, Any] = {
        "id": f"{CHANNEL}-{slot}.{attempt}",
        "channel": CHANNEL,
        "tenant": "shop",
        "slot": slot,
        "attempt": attempt,
        "trigger": "schedule",
        "state": "running",
        "step": "snapshot",
        "created_at": SATURDAY,
        "owner": "first",
        "lease_until": SATURDAY,
        "fence": 1,
        "figures": {},
    }
    return Run(**{**values, **more})


@pytest.fixture
def runs(house: House) -> RunRepository:
    return RunRepository(house.database)


async def test_a_slot_and_attempt_exist_once(runs: RunRepository) -> None:
    await runs.insert(run(state="failed"))
    with pytest.raises(SlotTakenError):
        await runs.insert(run(id="another"))


async def test_a_channel_has_one_run_under_way(runs: RunRepository) -> None:
    await runs.insert(run())
    with pytest.raises(RunInProgressError):
        await runs.insert(run(attempt=1))


async def test_of_many_who_take_over_at_once_one_gets_the_lease(runs: RunRepository) -> None:
    await runs.insert(run())
    read = await runs.get("pawl-2026-w47.0")
    until = SATURDAY + timedelta(minutes=1)
    leases = await asyncio.gather(*(runs.take_over(read, f"owner {n}", until) for n in range(5)))
    assert len([lease for lease in leases if lease is not None]) == 1


async def test_an_outdated_fence_writes_nothing(runs: RunRepository) -> None:
    await runs.insert(run())
    old = Lease("pawl-2026-w47.0", "first", 1)
    await runs.take_over(await runs.get(old.run), "second", SATURDAY)
    with pytest.raises(LeaseLostError):
        await runs.write(old, step="train")
    assert (await runs.get(old.run)).step == "snapshot"


async def test_a_run_that_ended_is_not_written_any_more(runs: RunRepository) -> None:
    await runs.insert(run())
    lease = Lease("pawl-2026-w47.0", "first", 1)
    await runs.write(lease, state="failed")
    with pytest.raises(LeaseLostError):
        await runs.write(lease, state="promoted")


async def test_the_cut_off_of_versions_is_that_of_their_latest_run(runs: RunRepository) -> None:
    assert await runs.cut_off_of([]) is None
    for week in (45, 46, 47):
        cut_off = SATURDAY + timedelta(weeks=week)
        made = run(f"2026-w{week}", state="promoted", version=f"v{week}", cut_off=cut_off)
        await runs.insert(made)
    assert await runs.cut_off_of(["v45", "v46", "elsewhere"]) == SATURDAY + timedelta(weeks=46)


async def test_the_texts_of_a_version_are_replaced_as_a_whole(runs: RunRepository) -> None:
    await runs.replace_trained_texts("v1", (f"{number:032x}" for number in range(1200)))
    await runs.replace_trained_texts("v1", {"a", "b"})
    await runs.replace_trained_texts("v2", {"b", "c"})
    assert await runs.trained_texts(["v1"]) == {"a", "b"}
    assert await runs.trained_texts(["v1", "v2"]) == {"a", "b", "c"}
