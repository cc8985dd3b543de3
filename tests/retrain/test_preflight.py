"""What would make a run useless is found before it trains, and said in the dry run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retrain.config import (
    EvaluationConfig,
    GateConfig,
    HyperParameters,
    JudgeEndpoint,
    PairsConfig,
    RetrainConfig,
    TrainerConfig,
)
from retrain.preflight import Inspected, find_problems
from retrain.run.steps import STEPS
from retrain.service import RunService
from tests.retrain.log import CHANNEL, Log
from tests.retrain.runs import ran
from tests.retrain.world import SATURDAY, House, make_config

pytestmark = pytest.mark.anyio

RUDE = {"rude": "no.such:metric"}


def _no_judge(house: House) -> None:
    house.judge = None


def _with(**settings: Any) -> Callable[[House], None]:
    def change(house: House) -> None:
        house.config = make_config(**settings)

    return change


USELESS: dict[str, tuple[Callable[[House], None], str]] = {
    "no judge": (_no_judge, "retrain.judge"),
    "a judge that is not there": (_with(judge="no.such:judge"), "retrain.judge"),
    "no judge, and no canary": (_with(judge="none"), "retrain.judge"),
    "a judge from people, and nobody held out": (
        _with(judge="people", pairs=PairsConfig(held_out_share=0)),
        "retrain.judge",
    ),
    "no suite": (_with(suite=Path("/no/such/suite.toml")), "retrain.suite"),
    "no metric": (
        _with(evaluation=EvaluationConfig(harms=RUDE)),
        "retrain.evaluation.harms.rude",
    ),
    "a ceiling of nothing": (
        _with(gate=GateConfig(harm_ceilings={"rude": 0.1}, comparisons=12, minimum=10)),
        "retrain.gate.harm_ceilings.rude",
    ),
    "no trainer": (
        _with(trainer=TrainerConfig(command=("/no/such/trainer",))),
        "retrain.trainer.command",
    ),
}


@pytest.mark.parametrize(
    "settings",
    [
        {"judge": "none", "rollout": "canary"},
        {"judge": "people"},
        {"judge": JudgeEndpoint(base_url="http://judge/v1", model="judge")},
    ],
)
async def test_an_endpoint_people_or_the_users_of_a_canary_may_judge(
    house: House, settings: dict[str, Any]
) -> None:
    house.config = make_config(**settings)
    assert house.world().problems() == []


@pytest.mark.parametrize("name", USELESS)
async def test_a_useless_run_ends_before_it_takes_anything(house: House, name: str) -> None:
    change, setting = USELESS[name]
    change(house)
    run = await ran(house)
    assert (run.state, str(run.reason).split(":")[0]) == ("failed", setting)
    assert (house.watcher.pairs, house.registry.calls, house.chat.asked) == ({}, [], [])
    assert not (house.folder / run.id / "job.json").exists()


@pytest.mark.parametrize("name", USELESS)
async def test_the_dry_run_says_so(house: House, name: str) -> None:
    change, setting = USELESS[name]
    change(house)
    plan = await house.service().dry_run(CHANNEL)
    assert not plan.would_train
    assert [problem.split(":")[0] for problem in plan.problems] == [setting]


async def test_a_base_model_that_changed_on_the_disk_is_found(house: House) -> None:
    world = house.world()
    world.base_on_disk = lambda: "0" * 64
    plan = await RunService(world).dry_run(CHANNEL)
    assert [problem.split(":")[0] for problem in plan.problems] == ["engine.model"]


async def test_a_run_that_another_base_model_takes_up_does_not_train(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = STEPS["train"]

    async def after_a_restart(context: Any) -> Any:
        world = context.environment
        world.base = replace(world.base, fingerprint="0" * 64)
        return await original(context)

    monkeypatch.setitem(STEPS, "train", after_a_restart)
    run = await ran(house)
    assert (run.state, "base model has changed" in str(run.reason)) == ("failed", True)
    assert not (house.folder / run.id / "job.json").exists()


async def test_a_judge_that_is_lost_after_training_is_a_reason_of_the_verdict(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = STEPS["evaluate"]

    async def without_a_judge(context: Any) -> Any:
        context.environment.judge = None
        return await original(context)

    monkeypatch.setitem(STEPS, "evaluate", without_a_judge)
    run = await ran(house)
    assert run.state == "rejected"
    assert run.verdict is not None
    assert run.verdict["reasons"][0] == "No judge compared the answers: set retrain.judge."
    assert house.chat.asked == []


def test_good_settings_have_no_problem() -> None:
    inspected = Inspected(RetrainConfig(), judged=True, served="f", on_disk=lambda: "f")
    assert find_problems(inspected) == []


def test_a_base_model_that_is_not_here_is_told() -> None:
    (problem,) = find_problems(Inspected(RetrainConfig(), judged=True, served=""))
    assert (problem.setting, problem.refuses_start) == ("engine.model", False)


# ---- pairs that do not fit


async def _with_long_pairs(house: House, short: int, long: int, **settings: Any) -> None:
    """Learners prefer, some of them between answers of 111 and 110 tokens."""
    house.config = make_config(
        hyper=HyperParameters(max_length=20),
        pairs={"held_out_share": 0},
        **settings,
    )
    log = Log(SATURDAY.replace(hour=1), prefix="more")
    for number in range(short + long):
        question, size = f"short question {number}", 10 if number < short else 110
        better = log.ask(question, "g" * size + "!", user=f"user {number}")
        log.prefer(better, log.ask(question, "b" * size, user=f"user {number}"))
    await log.write(house.database)


async def test_pairs_that_are_too_long_are_left_out_of_dry_run_and_run(house: House) -> None:
    await _with_long_pairs(house, 2, 9, minimum_pairs=60)
    plan = await house.service().dry_run(CHANNEL)
    assert (plan.pairs, plan.filters["too_long"], plan.longest_left_out) == (42, 9, 114)
    said = (
        "42 pairs, fewer than the minimum of 60; 9 more are longer than retrain.hyper.max_length "
        "= 20 tokens, the longest has 114: raise it to train on them"
    )
    assert (plan.would_train, plan.problems) == (False, [said])
    run = await ran(house)
    assert (run.state, run.reason) == ("skipped", said)
    assert (house.registry.calls, run.figures["filters"]["too_long"]) == ([], 9)


async def test_enough_pairs_that_fit_are_trained_on(house: House) -> None:
    await _with_long_pairs(house, 2, 9, minimum_pairs=42)
    plan = await house.service().dry_run(CHANNEL)
    assert (plan.would_train, plan.pairs) == (True, 42)
    run = await ran(house)
    rows = (house.folder / run.id / "snapshot" / "pairs.jsonl").read_text().splitlines()
    assert (len(rows), run.figures["pairs"]) == (42, 42)


async def test_pairs_that_turn_out_not_to_fit_skip_the_run(house: House) -> None:
    house.config = make_config("too_few")
    run = await ran(house)
    assert (run.state, run.reason) == ("skipped", "2 pairs, fewer than the minimum of 10")
    assert house.registry.calls == []


# ---- more required than a snapshot can hold


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"minimum_pairs": 9, "max_pairs": 3}, "retrain.minimum_pairs"),
        ({"method": "sft", "minimum_demonstrations": 9, "max_pairs": 3}, "retrain.minimum_demo"),
        ({"method": "kto", "minimum_labels": 9, "max_labels": 2, "max_pairs": 3}, "retrain.min"),
    ],
)
def test_a_minimum_that_no_snapshot_reaches_is_a_problem(
    settings: dict[str, Any], named: str
) -> None:
    inspected = Inspected(RetrainConfig.model_validate(settings), judged=True)
    (problem,) = find_problems(inspected)
    assert problem.setting.startswith(named)


def test_labels_may_be_switched_off_where_another_method_trains() -> None:
    config = RetrainConfig.model_validate({"max_labels": 0})
    assert find_problems(Inspected(config, judged=True)) == []
