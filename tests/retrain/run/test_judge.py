"""The judge of a run: trained on people, held against people, or left out for users to decide."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from retrain.config import EvaluationConfig, GateConfig
from retrain.evaluation.judges import CallableJudge
from retrain.ports import Answer
from retrain.run.resume import ResumePoint, latest_possible_step
from retrain.schemas import RunOut
from tests.retrain.log import CHANNEL, Log
from tests.retrain.runs import RUN, interrupted, ran, taken_up
from tests.retrain.world import SATURDAY, FakeChat, House, make_config

pytestmark = pytest.mark.anyio

GATE = {"comparisons": 12, "minimum": 10, "agreement_comparisons": 10}
PEOPLE: dict[str, Any] = {"judge": "people", "people_judge": {"minimum_votes": 5}}


class LoggedChat:
    """Answers as another chat does, and writes each answer into the log."""

    def __init__(self, house: House) -> None:
        self._chat: FakeChat = house.chat
        self._database = house.database
        self.asked: list[str] = []

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        answer = await self._chat.answer(model=model, request=request)
        self.asked.append(model)
        log = Log(SATURDAY, prefix=f"evaluation-{len(self.asked)}-")
        name = log.ask("?", answer.text, mode="evaluation")
        await log.write(self._database)
        return replace(answer, interaction_id=name)


def configured(house: House, **settings: Any) -> None:
    gate = GateConfig(**{**GATE, **settings.pop("gate", {})})
    house.config = make_config(**{"gate": gate, **settings})


async def decided(house: House, **settings: Any) -> RunOut:
    """A run whose evaluation's answers are in the log, as they are on a server."""
    configured(house, **settings)
    house.chat = LoggedChat(house)
    return await ran(house)


def check_of(run: RunOut) -> dict[str, Any]:
    assert run.verdict is not None
    check: dict[str, Any] = run.verdict["judge"]
    return check


async def test_a_judge_from_people_is_trained_checked_and_promotes(house: House) -> None:
    run = await decided(house, **PEOPLE)
    assert run.state == "promoted", run.reason
    check = check_of(run)
    assert (check["judge"], check["distrust"]) == ("people", None)
    assert check["agreement"]["rate"] == 1
    assert check["corrected"]["rate"] == pytest.approx(1)
    assert run.figures["judge"]["trained"]
    assert run.figures["judge"]["signals"] == run.figures["pairs_by_signal"]


async def test_its_record_stays_with_the_run_and_the_votes_do_not(house: House) -> None:
    run = await decided(house, **PEOPLE)
    folder = house.folder / run.id / "judge"
    assert {path.name for path in folder.iterdir()} == {"model", "record.json"}
    assert json.loads((folder / "record.json").read_text())["base_digest"] == "f" * 64


async def test_it_learns_from_earlier_weeks_too(house: House) -> None:
    first = await decided(house, **{**PEOPLE, "judge": None})
    house.clock.forward(days=7)
    log = Log(house.clock() - timedelta(days=1), prefix="second")
    for number in range(40):
        better = log.ask(f"second question {number}", "good answer", user=f"user {number}")
        worse = log.ask(f"second question {number}", "bad answer", user=f"user {number}")
        log.prefer(better, worse)
    await log.write(house.database)
    configured(house, **PEOPLE)
    second = await ran(house, slot="2026-w48")
    sources = second.figures["judge"]["sources"]
    assert set(sources) == {first.id, second.id}
    assert sum(sources.values()) >= first.figures["pairs"]


@pytest.mark.parametrize(("rollout", "state"), [("canary", "rolling_out"), ("direct", "rejected")])
async def test_with_too_few_votes_the_users_of_a_canary_decide_or_nobody(
    house: House, rollout: str, state: str
) -> None:
    few = {"judge": "people", "people_judge": {"minimum_votes": 1000}}
    run = await decided(house, **few, rollout=rollout)
    assert run.state == state
    assert run.reason is not None
    assert "fewer than retrain.people_judge.minimum_votes = 1000" in run.reason


async def test_a_judge_that_is_no_better_than_a_guess_is_not_used(house: House) -> None:
    log = Log(SATURDAY - timedelta(hours=5), prefix="contrary")
    for number in range(120):
        user = f"contrary user {number}"
        better = log.ask(f"contrary {number}", "bad answer", user=user)
        worse = log.ask(f"contrary {number}", "good answer", user=user)
        log.prefer(better, worse)
    await log.write(house.database)
    run = await decided(house, **PEOPLE, rollout="canary")
    assert not run.figures["judge"]["trained"]
    assert run.verdict is not None
    assert run.verdict["outcome"] == "canary"
    assert "not shown to be better than a guess" in run.verdict["reasons"][0]


async def test_answers_that_never_reach_the_log_are_failures(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrain.judging.logged.ATTEMPTS", 1)
    configured(house, **PEOPLE)
    run = await ran(house)
    assert run.state == "failed"
    assert run.reason is not None
    assert "12 JudgeError" in run.reason


async def test_without_a_judge_the_users_of_a_canary_decide(house: House) -> None:
    harms = EvaluationConfig(attempts=1, harms={"rude": "tests.retrain.run.test_judge:never"})
    run = await decided(house, judge="none", rollout="canary", evaluation=harms)
    assert run.state == "rolling_out", run.reason
    assert run.verdict is not None
    assert run.verdict["outcome"] == "canary"
    assert run.verdict["clusters"] == 12
    assert run.figures["evaluation"]["harms"]["candidate"] == {"rude": 0}
    assert house.watcher.decisions == ["canary"]


def never(_conversation: object, _answer: str) -> float:
    return 0.0


async def test_without_a_judge_guardrails_still_reject(house: House) -> None:
    house.chat.candidate = "far too many words " * 20
    run = await decided(house, judge="none", rollout="canary")
    assert run.state == "rejected"
    assert run.verdict is not None
    assert any("length:longest failed" in reason for reason in run.verdict["reasons"])


@pytest.mark.parametrize(("rollout", "state"), [("canary", "rolling_out"), ("direct", "rejected")])
async def test_a_judge_that_disagrees_with_people_does_not_gate(
    house: House, rollout: str, state: str
) -> None:
    house.judge = CallableJudge(contrary)
    run = await decided(house, judge="tests.retrain.run.test_judge:contrary", rollout=rollout)
    assert run.state == state
    assert "the lower 95 % bound is 0.0%" in check_of(run)["distrust"]


def contrary(_conversation: object, a: str, b: str) -> float:
    return 0.5 + (a.startswith("bad") - b.startswith("bad")) / 2


async def test_of_few_comparisons_a_judge_of_ones_own_gates_all_the_same(house: House) -> None:
    run = await decided(house, gate={"agreement_comparisons": 1000})
    assert run.state == "promoted", run.reason
    assert check_of(run)["agreement"]["comparisons"] >= 10


async def test_a_lost_judge_is_trained_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(house, **PEOPLE)
    house.chat = LoggedChat(house)
    await interrupted(house, monkeypatch, "evaluate")
    (house.folder / RUN / "judge" / "record.json").unlink()
    service = house.service()
    await taken_up(house, service)
    run = await service.wait(RUN)
    assert run.state == "promoted", run.reason
    assert (house.folder / RUN / "judge" / "record.json").is_file()


@pytest.mark.parametrize(("judge", "back_to"), [(True, "evaluate"), (False, "judge")])
async def test_a_run_without_its_judge_goes_back_to_train_it(judge: bool, back_to: str) -> None:
    kept = ResumePoint(
        snapshot=True,
        counterparts=True,
        adapter=True,
        candidate=True,
        evaluation=False,
        verdict=False,
        judge=judge,
    )
    assert latest_possible_step("evaluate", kept) == back_to


async def test_a_trainer_that_fails_ends_the_run(house: House) -> None:
    configured(house, **PEOPLE)
    house.config = house.config.model_copy(update={"trainer": make_config("fails").trainer})
    run = await ran(house)
    assert (run.state, run.step) == ("failed", "judge")
    assert run.channel == CHANNEL
