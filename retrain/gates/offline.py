"""The offline gate: promote a candidate only if it is shown to be better, at a known error rate.

A candidate must pass an exact one-sided sign test over independent questions, the same test
adjusted for the length of the answers (`length_adjustment`), and every guardrail. Guardrails are
never traded against the win rate.

Pure: takes evidence and settings, returns a verdict with every number it is based on.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import Literal

from pydantic import Field
from scipy.stats import binomtest

from common.frozen_model import FrozenModel
from retrain.config import GateConfig, Share
from retrain.gates.judge_check import JudgeCheck
from retrain.gates.length_adjustment import LengthPoint, length_adjusted_p, log_length_ratio

TIE = 0.5
TIE_WIDTH = 1e-9
"""Tolerance for rounding: a mean score this close to one half is a tie."""

CONFIDENCE = 0.95
"""Confidence level of the win rate's interval."""
Outcome = Literal["promote", "canary", "reject"]
NO_JUDGE = "No judge compared the answers: set retrain.judge."


class Comparison(FrozenModel):
    """The judged answers of candidate and live to one prompt.

    `cluster` identifies the question: prompts with the same text share it. `score` is the mean over
    both orders of presentation: 1 if the candidate won both, 0 if live did, 0.5 for a tie. None if
    nothing compared the answers, which then count as a tie.
    """

    cluster: str
    score: Share | None
    candidate_words: int = Field(ge=0)
    live_words: int = Field(ge=0)


class AssertionCounts(FrozenModel):
    """Number of a suite's cases, and how many each version passed."""

    cases: int = Field(ge=1)
    candidate_passed: int = Field(ge=0)
    live_passed: int = Field(ge=0)


class CallCounts(FrozenModel):
    """Number of questions that need a tool call, and of the candidate's faults on them.

    `retrain.evaluation.tool_calls` defines the faults.
    """

    due: int = Field(default=0, ge=0)
    missing: int = Field(default=0, ge=0)
    another: int = Field(default=0, ge=0)
    invalid: int = Field(default=0, ge=0)

    @property
    def wrong(self) -> int:
        """Number of questions with a wrong or missing call."""
        return self.missing + self.another + self.invalid


class Evidence(FrozenModel):
    """The input of the offline gate.

    `assertions` is None if no suite is configured. `harms` maps each metric to its mean over the
    candidate's answers. `judged` is false if nothing compared the answers, and `unjudged` says
    why. `judge` is what is known about the judge. `canary` is true if the users of a canary can
    decide in the judge's place.
    """

    comparisons: tuple[Comparison, ...]
    assertions: AssertionCounts | None = None
    harms: Mapping[str, Share] = {}
    calls: CallCounts = CallCounts()
    judged: bool = True
    unjudged: str = NO_JUDGE
    judge: JudgeCheck | None = None
    canary: bool = False

    @property
    def no_gate(self) -> str | None:
        """Why no judge gates; None if one does."""
        if not self.judged:
            return self.unjudged
        distrust = None if self.judge is None else self.judge.distrust
        return None if distrust is None else f"{distrust[0].upper()}{distrust[1:]}."


class WinRate(FrozenModel):
    """How often one version beat another, each question counted once.

    Attributes:
        clusters: Number of questions.
        rate: Wins over decisive questions; 0.5 if there are none.
        low: Lower end of the 95 % interval of `rate` (Clopper and Pearson, 1934,
            doi:10.1093/biomet/26.4.404).
        high: Upper end of that interval.
        p: One-sided p-value of the exact sign test.
        score: Mean score, where a tie counts as half a win.

    """

    clusters: int
    wins: int
    losses: int
    ties: int
    rate: float
    low: float
    high: float
    p: float
    score: float


class Guardrail(FrozenModel):
    """One limit that a candidate must keep, whatever its win rate.

    `value` is None if it was not measured. `detail` explains how it comes about.
    """

    name: str
    value: float | None
    limit: float
    passed: bool
    detail: str | None = None


class Verdict(FrozenModel):
    """The gate's decision with every number it is based on.

    `canary` means that no judge gates, and that the users of a canary decide alone: suite and
    guardrails passed, and the win rate was not tested.

    `n` is the number of comparisons, `clusters` that of distinct questions; the other counts and
    rates are over questions (see `WinRate`). `p_length_adjusted` is None if the adjustment is
    disabled. `judge` is what the run measured about its judge; None before that was measured.
    """

    outcome: Outcome
    reasons: list[str]
    n: int
    clusters: int
    wins: int
    losses: int
    ties: int
    rate: float
    low: float
    high: float
    score: float
    p: float
    p_length_adjusted: float | None
    alpha: float
    minimum: int
    guardrails: list[Guardrail]
    judge: JudgeCheck | None = None

    @property
    def promoted(self) -> bool:
        """Whether the candidate passed the gate: it goes live, or on to a canary."""
        return self.outcome != "reject"

    @property
    def judged(self) -> bool:
        """Whether a judge that may gate preferred the candidate."""
        return self.outcome == "promote"


def decide(evidence: Evidence, config: GateConfig) -> Verdict:
    """Promote if every test and every guardrail passes, else reject and give the reasons.

    If no judge gates, but a canary can follow, suite and guardrails alone decide whether it starts.
    """
    questions = _questions(evidence.comparisons)
    wins = win_rate(evidence.comparisons)
    adjusted = length_adjusted_p(questions, wins.p) if config.adjust_for_length else None
    guardrails = _guardrails(evidence, config)
    checks = [
        *_preferred(evidence, wins, adjusted, config),
        *((guardrail.passed, _sentence(guardrail)) for guardrail in guardrails),
    ]
    passed = all(passed for passed, _ in checks)
    outcome: Outcome = "promote" if evidence.no_gate is None else "canary"
    return Verdict(
        outcome=outcome if passed else "reject",
        reasons=[reason for ok, reason in checks if passed or not ok],
        n=len(evidence.comparisons),
        p_length_adjusted=adjusted,
        alpha=config.alpha,
        minimum=config.minimum,
        guardrails=guardrails,
        judge=evidence.judge,
        **wins.model_dump(),
    )


def _preferred(
    evidence: Evidence, wins: WinRate, adjusted: float | None, config: GateConfig
) -> list[tuple[bool, str]]:
    """Return the tests of the win rate, or whether a canary can start where no judge gates."""
    if evidence.no_gate is None:
        return [
            _enough(wins, config),
            _better(wins, config),
            *([] if adjusted is None else [_better_at_equal_length(adjusted, config)]),
        ]
    if evidence.canary:
        return [
            (True, f"{evidence.no_gate} The users of the canary decide."),
            _enough(wins, config),
        ]
    return [(False, evidence.no_gate), _enough(wins, config), _better(wins, config)]


def win_rate(comparisons: Sequence[Comparison]) -> WinRate:
    """Count each question once, by its mean score, and apply the sign test to wins and losses."""
    questions = _questions(comparisons)
    wins = sum(question.score > 0 for question in questions)
    losses = sum(question.score < 0 for question in questions)
    low, high = _interval(wins, losses)
    return WinRate(
        clusters=len(questions),
        wins=wins,
        losses=losses,
        ties=len(questions) - wins - losses,
        rate=wins / (wins + losses) if wins + losses else 0.5,
        low=low,
        high=high,
        p=sign_test_p(wins, losses),
        score=(wins + (len(questions) - wins - losses) / 2) / len(questions) if questions else 0.5,
    )


def sign_test_p(wins: int, losses: int) -> float:
    """Return the exact one-sided p-value of the sign test; ties are not counted.

    It is the probability of at least `wins` wins in `wins + losses` fair coin tosses, and 1 if
    there are none.
    """
    if wins + losses == 0:
        return 1.0
    return float(binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue)


def _interval(wins: int, losses: int) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of the win rate."""
    if wins + losses == 0:
        return 0.0, 1.0
    found = binomtest(wins, wins + losses).proportion_ci(CONFIDENCE, method="exact")
    return float(found.low), float(found.high)


def _questions(comparisons: Iterable[Comparison]) -> list[LengthPoint]:
    """Return one point per question, sorted by name, so that the order of prompts is irrelevant."""
    grouped: dict[str, list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        grouped[comparison.cluster].append(comparison)
    return [_question(grouped[name]) for name in sorted(grouped)]


def _question(comparisons: Sequence[Comparison]) -> LengthPoint:
    scores = [TIE if c.score is None else c.score for c in comparisons]
    lean = fsum(score - TIE for score in scores) / len(comparisons)
    ratios = (log_length_ratio(c.candidate_words, c.live_words) for c in comparisons)
    return LengthPoint(
        score=0 if abs(lean) <= TIE_WIDTH else (1 if lean > 0 else -1),
        log_ratio=fsum(ratios) / len(comparisons),
    )


def _guardrails(evidence: Evidence, config: GateConfig) -> list[Guardrail]:
    return [
        *_assertion_guardrail(evidence.assertions, config),
        *_harm_guardrails(evidence.harms, config),
        *_call_guardrail(evidence.calls, config),
        *_length_guardrails(evidence.comparisons, config),
    ]


def _assertion_guardrail(counts: AssertionCounts | None, config: GateConfig) -> list[Guardrail]:
    if counts is None:
        return []
    difference = (counts.candidate_passed - counts.live_passed) / counts.cases
    limit = -config.assertion_margin
    return [
        Guardrail(
            name="assertions", value=difference, limit=limit, passed=difference >= limit - TIE_WIDTH
        )
    ]


def _harm_guardrails(harms: Mapping[str, float], config: GateConfig) -> list[Guardrail]:
    guardrails = []
    for name, ceiling in sorted(config.harm_ceilings.items()):
        value = harms.get(name)
        passed = value is not None and value <= ceiling
        guardrails.append(Guardrail(name=f"harm:{name}", value=value, limit=ceiling, passed=passed))
    return guardrails


def _call_guardrail(calls: CallCounts, config: GateConfig) -> list[Guardrail]:
    """Return no guardrail if no question needs a tool call, since there is no rate then."""
    if not calls.due:
        return []
    rate, ceiling = calls.wrong / calls.due, config.wrong_call_ceiling
    return [
        Guardrail(
            name="tool calls",
            value=rate,
            limit=ceiling,
            passed=rate <= ceiling + TIE_WIDTH,
            detail=f"{calls.missing} missing, {calls.another} of another tool and {calls.invalid} "
            f"invalid on {calls.due} questions that need one",
        )
    ]


def _length_guardrails(comparisons: Sequence[Comparison], config: GateConfig) -> list[Guardrail]:
    """Return the limits on the ratio of mean words; failed as not measured if live has no words."""
    live = sum(c.live_words for c in comparisons)
    ratio = sum(c.candidate_words for c in comparisons) / live if live else None
    long_enough = ratio is not None and ratio >= config.shortest
    short_enough = ratio is not None and ratio <= config.longest
    return [
        Guardrail(name="length:shortest", value=ratio, limit=config.shortest, passed=long_enough),
        Guardrail(name="length:longest", value=ratio, limit=config.longest, passed=short_enough),
    ]


def _enough(wins: WinRate, config: GateConfig) -> tuple[bool, str]:
    passed = wins.clusters >= config.minimum
    compared = f"{wins.clusters} different questions were compared"
    return passed, f"{compared}; the minimum is {config.minimum}."


def _better(wins: WinRate, config: GateConfig) -> tuple[bool, str]:
    passed = wins.p <= config.alpha
    counts = f"{wins.wins} wins, {wins.losses} losses, {wins.ties} ties"
    interval = (
        f"{wins.rate:.1%} of the decisive ones, 95 % interval {wins.low:.1%} to {wins.high:.1%}"
    )
    return passed, (
        f"The candidate {'is' if passed else 'is not'} shown to be better than live: {counts} "
        f"({interval}); p = {wins.p:.3g}, alpha = {config.alpha:g}."
    )


def _better_at_equal_length(p: float, config: GateConfig) -> tuple[bool, str]:
    passed = p <= config.alpha
    holds = "holds" if passed else "does not hold"
    return passed, f"At equal length this {holds}: p = {p:.3g}, alpha = {config.alpha:g}."


def _sentence(guardrail: Guardrail) -> str:
    state = "passed" if guardrail.passed else "failed"
    value = "not measured" if guardrail.value is None else f"{guardrail.value:.3g}"
    detail = "" if guardrail.detail is None else f" ({guardrail.detail})"
    return f"Guardrail {guardrail.name} {state}: {value}{detail}, limit {guardrail.limit:g}."
