"""The result of an evaluation: every answer, every score, and the figures derived from them."""

from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict

from feedback.answer_parts import ToolCall
from retrain.evaluation.tool_calls import CallCheck
from retrain.gates.offline import (
    AssertionCounts,
    CallCounts,
    Comparison,
    Evidence,
    WinRate,
    win_rate,
)

Arm = Literal["candidate", "live", "base"]


class EvaluationError(Exception):
    """The evaluation failed. The message counts the failures and says what to check."""


class AnswersByArm(BaseModel):
    """The models that answer, by their names at the chat endpoint (`pawl@2026-w47-3f9c1a`).

    `base` is only evaluated for the report; None if live is the base model itself.
    """

    model_config = ConfigDict(frozen=True)

    candidate: str
    live: str
    base: str | None = None

    def models(self) -> dict[Arm, str]:
        """Return the model of each arm."""
        arms: dict[Arm, str] = {"candidate": self.candidate, "live": self.live}
        if self.base is not None:
            arms["base"] = self.base
        return arms


class ArmAnswer(BaseModel):
    """One arm's answer. `words` counts the words of the text and the calls, as judges see them."""

    model_config = ConfigDict(frozen=True)

    text: str
    words: int
    finish_reason: str | None
    interaction_id: str
    completion_tokens: int
    calls: list[ToolCall] = []
    refusal: str | None = None
    harms: dict[str, float] = {}


class Row(BaseModel):
    """One prompt with the answers of all arms and their scores.

    `score` is that of the candidate over live, `score_base` over base (None if there is no base).
    Both are None if nothing compared the answers.
    `calls` is the check of the candidate's tool calls, None if no tools were offered.
    """

    model_config = ConfigDict(frozen=True)

    prompt_id: str
    cluster: str
    answers: dict[Arm, ArmAnswer]
    score: float | None
    score_base: float | None = None
    calls: CallCheck | None = None

    def comparison(self, against: Arm = "live") -> Comparison:
        """Return the row as the gate's input, where `against` takes the place of live."""
        score = self.score if against == "live" else self.score_base
        if score is None and self.score is not None:
            raise EvaluationError(f"the candidate was not compared with {against}")
        return Comparison(
            cluster=self.cluster,
            score=score,
            candidate_words=self.answers["candidate"].words,
            live_words=self.answers[against].words,
        )


class SuiteResult(BaseModel):
    """Result of a suite: passed cases by arm, and failed assertions by arm and case."""

    model_config = ConfigDict(frozen=True)

    cases: int
    passed: dict[Arm, int]
    failures: dict[Arm, dict[str, list[str]]]


class Evaluation(BaseModel):
    """The complete result. It contains user text, so it is only stored in the run's folder.

    `asked` is the number of prompts, `failed` that of failed prompts and cases by error class.
    `judged` is false if there is no judge.
    """

    model_config = ConfigDict(frozen=True)

    arms: AnswersByArm
    asked: int
    rows: list[Row]
    failed: dict[str, int]
    suite: SuiteResult | None = None
    judged: bool = True

    def words(self) -> dict[Arm, float]:
        """Return the mean words per answer by arm; empty without rows."""
        return {arm: fmean(row.answers[arm].words for row in self.rows) for arm in self._answered()}

    def harms(self) -> dict[Arm, dict[str, float]]:
        """Return the mean of each harm metric by arm; empty without rows."""
        return {arm: self._mean_harms(arm) for arm in self._answered()}

    def evidence(self) -> Evidence:
        """Return the gate's input."""
        suite = self.suite and AssertionCounts(
            cases=self.suite.cases,
            candidate_passed=self.suite.passed["candidate"],
            live_passed=self.suite.passed["live"],
        )
        return Evidence(
            judged=self.judged,
            comparisons=tuple(row.comparison() for row in self.rows),
            assertions=suite,
            harms=self.harms().get("candidate", {}),
            calls=self.calls(),
        )

    def calls(self) -> CallCounts:
        """Return the number of questions that need a tool call, and of faults in the calls."""
        checks = [row.calls for row in self.rows if row.calls is not None]
        faults = Counter(check.fault for check in checks)
        return CallCounts(
            due=sum(check.due for check in checks),
            missing=faults["missing"],
            another=faults["another"],
            invalid=faults["invalid"],
        )

    def against_live(self) -> WinRate:
        """Return how often the candidate beat live."""
        return win_rate([row.comparison() for row in self.rows])

    def against_base(self) -> WinRate:
        """Return how often the candidate beat base; if live is base, the same as against live."""
        arm: Arm = "live" if self.arms.base is None else "base"
        return win_rate([row.comparison(arm) for row in self.rows])

    def _answered(self) -> Iterable[Arm]:
        return self.arms.models() if self.rows else ()

    def _mean_harms(self, arm: Arm) -> dict[str, float]:
        measured = [row.answers[arm].harms for row in self.rows]
        return {name: fmean(harms[name] for harms in measured) for name in measured[0]}
