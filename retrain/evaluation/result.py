"""What an evaluation found: every answer, every score, and the figures drawn from them."""

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
    """There is no result. The message counts what failed and says what to look at."""


class AnswersByArm(BaseModel):
    """The models that answer, by the names the chat endpoint knows (`pawl@2026-w47-3f9c1a`).

    `base` is asked for figures only, and is None where live is the base model itself.
    """

    model_config = ConfigDict(frozen=True)

    candidate: str
    live: str
    base: str | None = None

    def models(self) -> dict[Arm, str]:
        """The arms that are asked."""
        arms: dict[Arm, str] = {"candidate": self.candidate, "live": self.live}
        if self.base is not None:
            arms["base"] = self.base
        return arms


class ArmAnswer(BaseModel):
    """What one arm answered. `words` counts the text's and the calls', as judges are shown them."""

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
    """One prompt, answered by all arms and judged.

    `score` is the candidate's over live, `score_base` its over base (None where base is not asked).
    `calls` says what the candidate's tool calls are worth, None where no tool was offered.
    """

    model_config = ConfigDict(frozen=True)

    prompt_id: str
    cluster: str
    answers: dict[Arm, ArmAnswer]
    score: float
    score_base: float | None = None
    calls: CallCheck | None = None

    def comparison(self, against: Arm = "live") -> Comparison:
        """The row as the gate sees it; `live_words` are then the words of `against`."""
        score = self.score if against == "live" else self.score_base
        if score is None:
            raise EvaluationError(f"the candidate was not compared with {against}")
        return Comparison(
            cluster=self.cluster,
            score=score,
            candidate_words=self.answers["candidate"].words,
            live_words=self.answers[against].words,
        )


class SuiteResult(BaseModel):
    """`passed` counts cases by arm; `failures` maps arm and case to what was wrong."""

    model_config = ConfigDict(frozen=True)

    cases: int
    passed: dict[Arm, int]
    failures: dict[Arm, dict[str, list[str]]]


class Evaluation(BaseModel):
    """Everything one evaluation found. Holds users' text: it stays among the run's files.

    `asked` counts prompts, `failed` what was left out by the error's class (prompts and cases).
    `judged` is false where there was no judge.
    """

    model_config = ConfigDict(frozen=True)

    arms: AnswersByArm
    asked: int
    rows: list[Row]
    failed: dict[str, int]
    suite: SuiteResult | None = None
    judged: bool = True

    def words(self) -> dict[Arm, float]:
        """Mean words of an answer by arm; empty without rows."""
        return {arm: fmean(row.answers[arm].words for row in self.rows) for arm in self._answered()}

    def harms(self) -> dict[Arm, dict[str, float]]:
        """Mean of each harm metric by arm; empty without rows."""
        return {arm: self._mean_harms(arm) for arm in self._answered()}

    def evidence(self) -> Evidence:
        """What the gate decides on."""
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
        """How many questions a tool was due on, and what was wrong with the candidate's calls."""
        checks = [row.calls for row in self.rows if row.calls is not None]
        faults = Counter(check.fault for check in checks)
        return CallCounts(
            due=sum(check.due for check in checks),
            missing=faults["missing"],
            another=faults["another"],
            invalid=faults["invalid"],
        )

    def against_live(self) -> WinRate:
        """How often the candidate beat live."""
        return win_rate([row.comparison() for row in self.rows])

    def against_base(self) -> WinRate:
        """How often the candidate beat base; where live is base, the same as against live."""
        arm: Arm = "live" if self.arms.base is None else "base"
        return win_rate([row.comparison(arm) for row in self.rows])

    def _answered(self) -> Iterable[Arm]:
        return self.arms.models() if self.rows else ()

    def _mean_harms(self, arm: Arm) -> dict[str, float]:
        measured = [row.answers[arm].harms for row in self.rows]
        return {name: fmean(harms[name] for harms in measured) for name in measured[0]}
