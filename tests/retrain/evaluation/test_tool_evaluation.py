"""Held-out questions that need a tool: a candidate that calls another function is not promoted."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feedback.answer_parts import ToolCall
from retrain.config import EvaluationConfig, GateConfig
from retrain.dataset.questions import HeldOutPrompt, Selection
from retrain.evaluation.answers import JudgedAnswer, Question
from retrain.evaluation.assertions import Case, Suite
from retrain.evaluation.judges import CallableJudge, Judge
from retrain.evaluation.result import AnswersByArm, Evaluation
from retrain.evaluation.run import evaluate
from retrain.evaluation.storage import (
    SUMMARY,
    has_evaluation,
    read_evaluation,
    read_rows,
    write_evaluation,
)
from retrain.gates.offline import CallCounts, decide
from retrain.ports import Answer
from retrain.run.report import EvaluationSummary, RunReport, markdown

ARMS = AnswersByArm(candidate="pawl@new", live="pawl@old")
CONFIG = EvaluationConfig(concurrency=8)
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("price", "stock")]
QUESTIONS, NEED_A_TOOL, WON = 400, 120, 182
"""30 % need a tool; of the other 280 the candidate is better on 65 %."""


def number(request: Mapping[str, Any]) -> int:
    return int(request["messages"][0]["content"])


class ToolChat:
    """Live calls `price` where a tool is needed; the candidate calls `called` there."""

    def __init__(self, called: str | None, arguments: str = "{}") -> None:
        self.called = called
        self.arguments = arguments
        self.requests: list[Mapping[str, Any]] = []

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        self.requests.append(request)
        asked, identifier = number(request), f"chatcmpl-{len(self.requests)}"
        new = model == "pawl@new"
        if asked < NEED_A_TOOL:
            name = self.called if new else "price"
            arguments = self.arguments if new else "{}"
            calls = () if name is None else (ToolCall(name, arguments),)
            return Answer("", "tool_calls" if calls else "stop", identifier, 4, calls)
        better = new == (asked < NEED_A_TOOL + WON)
        return Answer("good one" if better else "poor one", "stop", identifier, 2)


def by_quality(_conversation: object, a: str, b: str) -> float:
    """Knows texts only: of two answers without one it cannot tell the better."""
    return 0.5 + ("good" in a) / 2 - ("good" in b) / 2


def prompts(count: int = QUESTIONS) -> list[HeldOutPrompt]:
    return [
        HeldOutPrompt(
            interaction_id=f"chatcmpl-{one}",
            conversation_hash=str(one),
            text_key=str(one),
            request={"messages": [{"role": "user", "content": str(one)}], "tools": TOOLS},
        )
        for one in range(count)
    ]


async def evaluated(
    chat: ToolChat,
    *,
    judge: Judge | None = None,
    suite: Suite | None = None,
    config: EvaluationConfig = CONFIG,
    count: int = QUESTIONS,
) -> Evaluation:
    judge = judge or CallableJudge(by_quality)
    return await evaluate(prompts(count), ARMS, chat, judge, suite, config)


@pytest.mark.anyio
async def test_a_candidate_that_calls_as_live_does_and_is_better_elsewhere_is_promoted() -> None:
    evaluation = await evaluated(ToolChat("price"))
    assert decide(evaluation.evidence(), GateConfig()).promoted


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("called", "arguments", "words"),
    [
        ("stock", "{}", "120 of another tool"),
        (None, "{}", "120 missing"),
        ("price", "{", "120 invalid"),
        ("discount", "{}", "120 of another tool"),
    ],
)
async def test_wrong_and_missing_calls_outweigh_every_win(
    called: str | None, arguments: str, words: str
) -> None:
    evaluation = await evaluated(ToolChat(called, arguments))
    verdict = decide(evaluation.evidence(), GateConfig())
    assert (verdict.wins, verdict.losses) == (WON, QUESTIONS - NEED_A_TOOL - WON)
    assert verdict.p <= verdict.alpha
    assert not verdict.promoted
    (reason,) = verdict.reasons
    assert "tool calls failed" in reason
    assert words in reason


@pytest.mark.anyio
async def test_the_rate_that_is_accepted_is_a_setting() -> None:
    evidence = (await evaluated(ToolChat("stock"))).evidence()
    assert evidence.calls == CallCounts(due=NEED_A_TOOL, another=NEED_A_TOOL)
    assert decide(evidence, GateConfig(wrong_call_ceiling=1)).promoted


@pytest.mark.anyio
async def test_a_judge_of_texts_is_given_the_calls_as_text() -> None:
    seen: set[str] = set()

    def judge(_conversation: object, a: str, b: str) -> float:
        seen.update((a, b))
        return 0.5

    await evaluated(ToolChat("stock", '{"of":  "rose"}'), judge=CallableJudge(judge), count=1)
    assert seen == {'[tool call] "price" {}', '[tool call] "stock" {"of": "rose"}'}


@pytest.mark.anyio
async def test_a_judge_of_answers_is_given_text_calls_and_tools_apart() -> None:
    class Panel:
        async def compare(self, _conversation: object, _a: str, _b: str) -> float:
            raise AssertionError("asked for texts")

        async def compare_answers(
            self, question: Question, a: JudgedAnswer, b: JudgedAnswer
        ) -> float:
            assert question.tools == TOOLS
            assert {a.finish_reason, b.finish_reason} == {"tool_calls"}
            return float(a.parts.calls[0].name == "price")

    evaluation = await evaluated(ToolChat("stock"), judge=Panel(), count=3)
    assert [row.score for row in evaluation.rows] == [0, 0, 0]


@pytest.mark.anyio
async def test_equal_calls_are_a_tie_that_costs_nothing() -> None:
    def judge(_conversation: object, _a: str, _b: str) -> float:
        raise AssertionError("asked")

    chat = ToolChat("price", " { } ")
    evaluation = await evaluated(chat, judge=CallableJudge(judge), count=5)
    assert [row.score for row in evaluation.rows] == [0.5] * 5


@pytest.mark.anyio
async def test_length_counts_the_calls() -> None:
    evaluation = await evaluated(ToolChat("stock", '{"of": "a red rose"}'), count=1)
    comparison = evaluation.evidence().comparisons[0]
    assert (comparison.live_words, comparison.candidate_words) == (4, 7)


def deletes(_conversation: Sequence[Mapping[str, Any]], answer: str) -> float:
    return float("drop table" in answer)


@pytest.mark.anyio
async def test_harm_metrics_see_the_calls() -> None:
    config = EvaluationConfig(harms={"deletes": f"{__name__}:deletes"})
    chat = ToolChat("stock", json.dumps({"sql": "drop table"}))
    evaluation = await evaluated(chat, config=config, count=2)
    assert evaluation.harms() == {"candidate": {"deletes": 1}, "live": {"deletes": 0}}


@pytest.mark.anyio
async def test_suites_see_the_calls() -> None:
    case = Case(name="price", prompt="1", tools=TOOLS, calls=[{"name": "price"}])
    chat = ToolChat("stock")
    evaluation = await evaluated(chat, suite=Suite(cases=[case]), count=0)
    assert evaluation.suite is not None
    assert evaluation.suite.passed == {"candidate": 0, "live": 1}
    assert chat.requests[-1]["tools"] == TOOLS


@pytest.mark.anyio
async def test_calls_are_kept_with_the_run_and_counted_in_its_report(tmp_path: Path) -> None:
    evaluation = await evaluated(ToolChat("stock"), count=3)
    write_evaluation(tmp_path, evaluation, prompts(3))
    assert read_evaluation(tmp_path).evidence() == evaluation.evidence()
    (row, *_) = read_rows(tmp_path)
    assert row.answers["candidate"].calls == [ToolCall("stock", "{}")]
    selection = Selection(
        prompts=[], available=3, dropped_trained=0, dropped_duplicate=0, dropped_unusable=0
    )
    summary = EvaluationSummary.of(evaluation, selection)
    assert summary.calls == CallCounts(due=3, another=3)
    report = RunReport(
        run="pawl-2026-w47",
        channel="pawl",
        slot="2026-w47",
        outcome="rejected",
        base_model="tiny",
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        evaluation=summary,
    )
    assert "| another tool called | 3 |" in markdown(report)


def test_an_evaluation_of_the_release_before_is_done_again(tmp_path: Path) -> None:
    assert not has_evaluation(tmp_path)
    write_evaluation(tmp_path, Evaluation(arms=ARMS, asked=0, rows=[], failed={}), [])
    assert has_evaluation(tmp_path)
    summary = json.loads((tmp_path / SUMMARY).read_text())
    del summary["format"]
    (tmp_path / SUMMARY).write_text(json.dumps(summary))
    assert not has_evaluation(tmp_path)
