"""A run goes on on a machine that lacks what earlier steps have written."""

import json
import shutil
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.run.resume import ResumePoint, latest_possible_step
from retrain.run.steps import STEPS
from tests.retrain.runs import RUN, interrupted, interrupted_after, taken_up
from tests.retrain.world import House

NAMES = tuple(ResumePoint.__slots__)
NOTHING = ResumePoint(**{**dict.fromkeys(NAMES, False), "judge": True})
ALL = ResumePoint(**dict.fromkeys(NAMES, True))
KEPT = st.builds(ResumePoint, **dict.fromkeys(NAMES, st.booleans()))
STEP = st.sampled_from(list(STEPS))


@pytest.mark.parametrize(
    ("step", "kept", "back_to"),
    [
        ("train", {}, "snapshot"),
        ("counterparts", {}, "snapshot"),
        ("counterparts", {"snapshot": True}, "counterparts"),
        ("counterparts", {"candidate": True}, "counterparts"),
        ("counterparts", {"snapshot": True, "judge": False}, "judge"),
        ("train", {"snapshot": True}, "counterparts"),
        ("train", {"snapshot": True, "counterparts": True}, "train"),
        ("vet", {"snapshot": True, "counterparts": True}, "train"),
        ("vet", {"adapter": True}, "vet"),
        ("vet", {}, "snapshot"),
        ("evaluate", {"candidate": True}, "snapshot"),
        ("evaluate", {"candidate": True, "snapshot": True}, "evaluate"),
        ("evaluate", {"snapshot": True, "adapter": True}, "vet"),
        ("evaluate", {"snapshot": True, "counterparts": True}, "train"),
        ("decide", {"candidate": True, "snapshot": True}, "evaluate"),
        ("decide", {"candidate": True, "verdict": True}, "decide"),
        ("roll out", {"candidate": True, "verdict": True}, "roll out"),
        ("roll out", {"verdict": True}, "snapshot"),
    ],
)
def test_a_run_goes_back_to_the_earliest_step_whose_inputs_are_missing(
    step: str, kept: dict[str, bool], back_to: str
) -> None:
    assert latest_possible_step(step, replace(NOTHING, **kept)) == back_to


@given(STEP, KEPT)
def test_it_never_goes_forward(step: str, kept: ResumePoint) -> None:
    order = list(STEPS)
    assert order.index(latest_possible_step(step, kept)) <= order.index(step)


@given(STEP)
def test_with_everything_at_hand_it_goes_on_where_it_was(step: str) -> None:
    assert latest_possible_step(step, ALL) == step


@pytest.mark.anyio
@pytest.mark.parametrize("step", list(STEPS))
async def test_a_run_whose_folder_is_gone_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await interrupted(house, monkeypatch, step)
    shutil.rmtree(house.folder / RUN)
    service = house.service()
    assert await taken_up(house, service) == [RUN]
    ended = await service.wait(RUN)
    assert ended.state == "promoted"
    assert len(house.registry.called("add")) == len(house.registry.called("promote")) == 1


@pytest.mark.anyio
async def test_a_snapshot_that_is_frozen_again_is_the_one_that_was_trained_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "evaluate")
    manifest = house.folder / RUN / "snapshot" / "manifest.json"
    before = json.loads(manifest.read_text())
    shutil.rmtree(house.folder / RUN)
    house.clock.forward(days=3)
    service = house.service()
    await taken_up(house, service)
    await service.wait(RUN)
    assert json.loads(manifest.read_text()) == before


@pytest.mark.anyio
async def test_a_verdict_is_not_asked_for_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted_after(house, monkeypatch, "decide")
    shutil.rmtree(house.folder / RUN)
    house.chat.candidate = "bad words"
    service = house.service()
    await taken_up(house, service)
    assert (await service.wait(RUN)).state == "promoted"
    assert house.watcher.decisions == ["promote"]


@pytest.mark.anyio
@pytest.mark.parametrize("step", ["evaluate", "decide", "roll out"])
async def test_a_candidate_whose_files_are_lost_is_replaced(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await interrupted(house, monkeypatch, step)
    (lost,) = house.registry.rows
    house.registry.lost.add(lost)
    shutil.rmtree(house.folder / RUN)
    service = house.service()
    await taken_up(house, service)
    ended = await service.wait(RUN)
    assert (ended.state, house.registry.route.live) == ("promoted", ended.version)
    assert ended.version != lost
    assert house.registry.rows[lost].state == "rejected"


@pytest.mark.anyio
async def test_a_version_that_went_live_before_its_machine_was_lost_is_left_live(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted_after(house, monkeypatch, "roll out")
    (live,) = house.registry.rows
    house.registry.lost.add(live)
    shutil.rmtree(house.folder / RUN)
    service = house.service()
    await taken_up(house, service)
    assert (await service.wait(RUN)).state == "promoted"
    assert house.registry.route.live == live


@pytest.mark.anyio
async def test_what_was_trained_on_is_known_though_the_machine_is_lost(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "roll out")
    shutil.rmtree(house.folder / RUN)
    service = house.service()
    await taken_up(house, service)
    ended: Any = await service.wait(RUN)
    texts = await house.world().runs.trained_texts([ended.version])
    assert len(texts) == ended.figures["pairs"]


@pytest.mark.anyio
async def test_a_run_whose_trained_folder_was_never_put_in_place_is_trained_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "train")
    left = house.folder / RUN / "trained-1"
    left.mkdir(parents=True)
    (house.folder / RUN / ".trained-1.partial").mkdir()
    service = house.service()
    await taken_up(house, service)
    assert (await service.wait(RUN)).state == "promoted"
    assert not left.exists()
    assert list((house.folder / RUN).glob(".*")) == []
