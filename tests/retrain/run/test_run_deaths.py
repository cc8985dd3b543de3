"""A process dies before and after each durable effect of a run; the next one ends the run well.

The effects are commits and renames. These are the neighbours, and what a death between them leaves:

- a slot's row, the run's folder: an empty run, begun again
- the snapshot's folder, its figures: the snapshot is found whole
- the training set, its figures: the set is found whole, and trained on as it is
- the trainer's folder, the adapter's place: the trainer's work is lost, it trains again
- the adapter in place, the row's next step: the adapter is found
- the published folder, the version's row: files without a version; the same files are taken up
- the version's row, the run's row: found by its run
- the evaluation, the row's next step: the evaluation is done again
- the texts trained on, the verdict: both again, with the same outcome
- figures of the version, the route or rollout, the run's row: the run is still rolling out, and is
  found to have been
- the report, the run's row: the report is written again
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.service import Registry
from retrain.schemas import RunOut
from retrain.service import RunService
from retrain.slots import slot_of
from server.database.database import Database
from tests.retrain.deaths import DeathError, MortalHouse, mortal_files
from tests.retrain.log import CHANNEL
from tests.retrain.world import SATURDAY, House, make_config

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

MANY = 200
"""More effects than a run has."""
STRIDE = 9
"""Every so many-th effect here, another choice for each case; `bench.faults.runs` kills at all."""


@pytest.fixture
async def mortal(tmp_path: Path, database: Database) -> AsyncIterator[MortalHouse]:
    house = House(database, tmp_path / "runs", make_config())
    mortal = MortalHouse(house, tmp_path / "adapters")
    await mortal.open()
    yield mortal
    await house.close()


async def begun(mortal: MortalHouse, slot: str, death: int) -> bool:
    """Let a process begin a run and die at that effect; False where the run has fewer."""
    service, registry = await mortal.process()
    mortal.fate.left = death
    try:
        run = await service.start_run(CHANNEL, slot)
        await service.wait(run.id)
    except DeathError:
        return True
    finally:
        died, mortal.fate.left = mortal.fate.left == 0, None
        await registry.close()
    return died


async def taken_up(mortal: MortalHouse, slot: str) -> tuple[RunOut | None, RunService, Registry]:
    """What the next process makes of it, once it was looked at how it found things."""
    service, registry = await mortal.process()
    live = registry.routes()[CHANNEL].live
    for version in await registry.versions(CHANNEL):
        mortal.store.verify(version)
    assert live == "base" or (await registry.version(live)).state == "live"
    assert mortal.drafts() == []
    await service.start()
    runs = [run for run in await service.runs(CHANNEL) if run.slot == slot]
    return (await service.wait(runs[0].id) if runs else None), service, registry


async def ended_once(run: RunOut, state: str, registry: Registry) -> None:
    """It has one version, whose story says everything once."""
    assert run.state == state, run.reason
    (version,) = [one for one in await registry.versions(CHANNEL) if one.run == run.id]
    assert version.name == run.version
    assert (registry.routes()[CHANNEL].live == version.name) == (state == "promoted")
    told = [event.to_state for event in await registry.events(version.name)]
    assert len(told) == len(set(told))


async def put_back(run: RunOut, service: RunService, registry: Registry) -> None:
    """Base is live again, so that the next run has something to learn."""
    if run.state == "promoted":
        await registry.rollback(CHANNEL, actor="test", reason="the next one")
    if run.state == "rolling_out":
        await service.rollouts.refuse(str(run.version), actor="test", reason="the next one")


@pytest.mark.parametrize(
    ("words", "rollout", "state", "first"),
    [
        ("good words", "direct", "promoted", 1),
        ("bad words", "direct", "rejected", 2),
        ("good words", "canary", "rolling_out", 3),
    ],
)
async def test_a_death_at_any_effect_loses_and_doubles_nothing(
    mortal: MortalHouse,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    rollout: str,
    state: str,
    first: int,
) -> None:
    mortal.house.config = make_config(rollout=rollout)
    mortal.chat.candidate = words
    with mortal_files(mortal.fate, monkeypatch):
        for death in range(first, MANY, STRIDE):
            slot = slot_of(SATURDAY - timedelta(weeks=death))
            died = await begun(mortal, slot, death)
            run, service, registry = await taken_up(mortal, slot)
            if run is not None:  # it may have died before there was one
                await ended_once(run, state, registry)
                await put_back(run, service, registry)
            await registry.close()
            if not died:
                break
    assert death > MANY / 10
