"""A base model that no run can train is named before a run trains."""

import dataclasses
from typing import Any

import pytest

from adapters.vetting.families import Family
from retrain.config import RetrainConfig
from retrain.preflight import Inspected, find_problems
from tests.retrain.log import CHANNEL
from tests.retrain.runs import ran
from tests.retrain.world import House

UNTRAINABLE = Family("llama4", "Llama4ForConditionalGeneration")


@pytest.fixture
def untrainable_house(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    world = house.world

    def of_that_family(**changes: Any) -> Any:
        given = world(**changes)
        return dataclasses.replace(given, base=dataclasses.replace(given.base, family=UNTRAINABLE))

    monkeypatch.setattr(house, "world", of_that_family)
    return house


@pytest.mark.parametrize("family", [None, Family("qwen3", "Qwen3ForCausalLM")])
def test_other_families_are_no_problem(family: Family | None) -> None:
    subject = Inspected(RetrainConfig(), judged=True, family=family)
    assert not [found for found in find_problems(subject) if found.setting == "engine.model"]


@pytest.mark.anyio
async def test_a_run_ends_before_it_trains(untrainable_house: House) -> None:
    run = await ran(untrainable_house)
    assert (run.state, run.step) == ("failed", "snapshot")
    assert "engine.model: the family llama4 is not trained" in str(run.reason)


@pytest.mark.anyio
async def test_a_dry_run_says_so(untrainable_house: House) -> None:
    plan = await untrainable_house.service().dry_run(CHANNEL)
    assert not plan.would_train
    assert [problem for problem in plan.problems if "llama4" in problem]
