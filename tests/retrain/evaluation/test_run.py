"""The evaluation: same prompts for every arm, few at a time, and no result from half of it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from retrain.config import EvaluationConfig
from retrain.dataset.questions import HeldOutPrompt
from retrain.evaluation.answered import evaluation_request
from retrain.evaluation.assertions import Case, Suite
from retrain.evaluation.judges import CallableJudge, JudgeError
from retrain.evaluation.result import AnswersByArm, Evaluation, EvaluationError
from retrain.evaluation.run import evaluate
from retrain.ports import Answer, ChatError, ChatUnavailableError

ARMS = AnswersByArm(candidate="pawl@new", live="pawl@old", base="pawl@base")
TEXTS = {"pawl@new": "a much better answer", "pawl@old": "an answer", "pawl@base": "hm"}
CONFIG = EvaluationConfig(first_pause=0, concurrency=3)


def by_length(_conversation: object, a: str, b: str) -> float:
    return float(len(a) > len(b))


def is_long(_conversation: object, answer: str) -> float:
    return float(len(answer.split()) > 2)


JUDGE = CallableJudge(by_length)


class FakeChat:
    """Answers by model; `failures` holds, by (model, question), the errors still to be raised."""

    def __init__(self, failures: Mapping[tuple[str, str], list[ChatError]] | None = None) -> None:
        self.failures = failures or {}
        self.requests: list[tuple[str, Mapping[str, Any]]] = []
        self.in_flight = self.most_in_flight = 0

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        self.requests.append((model, request))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        self.in_flight -= 1
        pending = self.failures.get((model, request["messages"][0]["content"]))
        if pending:
            raise pending.pop()
        return Answer(TEXTS[model], "stop", f"chatcmpl-{len(self.requests)}", 4)


def prompts(count: int) -> list[HeldOutPrompt]:
    return [
        HeldOutPrompt(
            interaction_id=f"chatcmpl-{number}",
            conversation_hash=str(number),
            text_key=str(number),
            request={"messages": [{"role": "user", "content": str(number)}], "temperature": 0.7},
        )
        for number in range(count)
    ]


async def run(
    chat: FakeChat, count: int = 20, arms: AnswersByArm = ARMS, config: EvaluationConfig = CONFIG
) -> Evaluation:
    return await evaluate(prompts(count), arms, chat, JUDGE, None, config)


@pytest.mark.anyio
async def test_every_arm_answers_every_prompt() -> None:
    chat = FakeChat()
    evaluation = await run(chat)
    asked = {(model, request["messages"][0]["content"]) for model, request in chat.requests}
    assert len(asked) == len(chat.requests) == 60
    assert [row.cluster for row in evaluation.rows] == [str(number) for number in range(20)]


@pytest.mark.anyio
async def test_the_figures_are_the_candidates() -> None:
    evaluation = await run(FakeChat())
    assert evaluation.against_live().wins == evaluation.against_base().wins == 20
    assert evaluation.words() == {"candidate": 4, "live": 2, "base": 1}
    assert evaluation.evidence().comparisons[0].candidate_words == 4


@pytest.mark.anyio
async def test_base_is_not_asked_where_it_is_live() -> None:
    chat = FakeChat()
    evaluation = await run(chat, arms=AnswersByArm(candidate="pawl@new", live="pawl@base"))
    assert {model for model, _ in chat.requests} == {"pawl@new", "pawl@base"}
    assert evaluation.against_base() == evaluation.against_live()


@pytest.mark.anyio
async def test_only_so_many_requests_are_in_flight() -> None:
    chat = FakeChat()
    await run(chat)
    assert chat.most_in_flight == CONFIG.concurrency


@pytest.mark.anyio
async def test_a_busy_endpoint_is_asked_again() -> None:
    chat = FakeChat(
        {("pawl@old", "4"): [ChatUnavailableError("busy"), ChatUnavailableError("busy")]}
    )
    assert len((await run(chat)).rows) == 20


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["pawl@new", "pawl@old", "pawl@base"])
async def test_a_prompt_that_any_arm_failed_is_left_out_and_counted(model: str) -> None:
    evaluation = await run(FakeChat({(model, "4"): [ChatError("refused")]}))
    assert len(evaluation.rows) == 19
    assert evaluation.failed == {"ChatError": 1}
    assert "4" not in {row.cluster for row in evaluation.rows}


@pytest.mark.anyio
async def test_too_many_failures_are_no_result() -> None:
    failing = {("pawl@new", str(number)): [ChatError("refused")] for number in range(2)}
    with pytest.raises(EvaluationError, match="2 of 20 prompts failed"):
        await run(FakeChat(failing))


@pytest.mark.anyio
async def test_a_judge_that_fails_everywhere_is_no_result() -> None:
    def broken(*_: object) -> float:
        raise JudgeError("no verdict")

    with pytest.raises(EvaluationError, match="20 JudgeError"):
        await evaluate(prompts(20), ARMS, FakeChat(), CallableJudge(broken), None, CONFIG)


@pytest.mark.anyio
async def test_a_mistake_in_the_chat_is_not_taken_for_a_failed_prompt() -> None:
    arms = AnswersByArm(candidate="pawl@unknown", live="pawl@old")
    with pytest.raises(ExceptionGroup) as caught:
        await run(FakeChat(), arms=arms)
    assert caught.group_contains(KeyError)


@pytest.mark.anyio
async def test_the_suite_runs_on_candidate_and_live() -> None:
    suite = Suite(
        cases=[
            Case(name="better", prompt="p", contains=["better"]),
            Case(name="short", prompt="q", max_words=3),
        ]
    )
    evaluation = await evaluate(prompts(2), ARMS, FakeChat(), JUDGE, suite, CONFIG)
    assert evaluation.suite is not None
    assert evaluation.suite.passed == {"candidate": 1, "live": 1}
    assert set(evaluation.suite.failures["candidate"]) == {"short"}
    counts = evaluation.evidence().assertions
    assert counts is not None
    assert (counts.cases, counts.candidate_passed, counts.live_passed) == (2, 1, 1)


@pytest.mark.anyio
async def test_harm_is_measured_on_every_answer() -> None:
    config = CONFIG.model_copy(update={"harms": {"long": f"{__name__}:is_long"}})
    evaluation = await run(FakeChat(), config=config)
    assert evaluation.harms() == {
        "candidate": {"long": 1},
        "live": {"long": 0},
        "base": {"long": 0},
    }
    assert evaluation.evidence().harms == {"long": 1}


@pytest.mark.anyio
async def test_a_harm_metric_that_does_not_exist_is_refused_before_anything_is_asked() -> None:
    chat = FakeChat()
    with pytest.raises(JudgeError, match="cannot be imported"):
        await run(chat, config=CONFIG.model_copy(update={"harms": {"x": "no.such:thing"}}))
    assert not chat.requests


@pytest.mark.anyio
async def test_an_evaluation_survives_json() -> None:
    evaluation = await run(FakeChat())
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_the_recorded_sampling_is_kept_and_the_delivery_is_not() -> None:
    recorded = {
        "model": "pawl",
        "messages": [],
        "temperature": 0.3,
        "max_tokens": 9,
        "tools": [],
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 4,
        "user": "someone",
        "seed": 3,
    }
    assert evaluation_request(recorded) == {
        "messages": [],
        "temperature": 0.3,
        "max_tokens": 9,
        "tools": [],
        "stream": False,
        "n": 1,
    }
