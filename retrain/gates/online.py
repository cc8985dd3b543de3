"""The online gate: decide from users' votes and guardrails whether a canary is promoted.

The unit of the tests is the user, since the votes of one user are correlated: tests that count
votes have about ten times the stated error rate (`bench/online_gate.py` simulates it). Each user
counts once in each of two streams: the first vote, and the mean of the first day's votes. Each
stream may decide, at half of the error probability.

A blind comparison is evidence, too: each user's first one, whatever it says. A tie and "both bad"
multiply that evidence by one. So they need no assumption: under equality a win and a loss are
equally likely, and how often neither happens may depend on the user, the question, both answers and
the time (`e_process.preference_path`). The first comparison counts even if it is a tie, because
waiting for one that is decided weighs those users most who are seldom undecided, and with tastes
that differ equal versions no longer win alike. "Both bad" is a thumb down for both sides in
training; here it is no vote of the streams above, since the arm of such a vote is no coin: a down
vote for each arm would be evidence against the smaller one. `bench/online_gate.py` simulates all of
this.

All tests are e-processes (`e_process`), so they are valid at every time they are looked at. The
verdict is a pure function of the whole history: it is the same after a restart and on every server.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from math import log
from typing import Literal, NamedTuple

import numpy as np

from common.frozen_model import FrozenModel
from retrain.config import OnlineGateConfig
from retrain.gates.e_process import BETS
from retrain.gates.evidence import (
    STREAMS,
    CanaryEvidence,
    Stream,
    stream_curves,
    vote_curve,
    voting_curve,
)

Outcome = Literal["continue", "promote", "roll_back"]

DAY_SECONDS = 86_400
_INTERVAL_ALPHA = 0.05
"""Error probability of the confidence sequence, over both ends."""
_DIFFERENCES = tuple(round(step / 100, 2) for step in range(-30, 31))
"""Differences in mean votes that the confidence sequence tests."""
_EXPECTED = 0.05
"""Difference in mean votes assumed by the estimate of the users still needed."""


class StreamFigures(FrozenModel):
    """One stream: its users, and the evidence that the canary is better and that it is worse."""

    users: int
    better: float
    worse: float


class GuardrailFigures(FrozenModel):
    """The evidence against the canary in one guardrail, from the first events of `users` users."""

    users: int
    evidence: float
    threshold: float


class ComparisonFigures(FrozenModel):
    """Users by what they said in their first blind comparison; only the first two are evidence."""

    won: int = 0
    lost: int = 0
    tied: int = 0
    both_bad: int = 0


class OnlineVerdict(FrozenModel):
    """The gate's current decision with its numbers.

    Attributes:
        at: When the deciding evidence was complete, in seconds since the canary began.
        frozen: Whether promotion is blocked because voting depends on the arm.
        voting: The evidence that voting depends on the arm.
        low: Lower end of the 95 % confidence sequence of canary minus live, in mean votes.
        high: Upper end of that confidence sequence.
        needed: Estimated number of further rated users until a promotion, if the canary is better
            by five points.
        comparisons: What users said in blind comparisons, if any.

    """

    outcome: Outcome
    reason: str
    at: float | None
    frozen: bool
    voting: float
    streams: dict[Stream, StreamFigures]
    guardrails: dict[str, GuardrailFigures]
    canary_users: int
    live_users: int
    low: float
    high: float
    needed: int
    comparisons: ComparisonFigures = ComparisonFigures()


class Decision(NamedTuple):
    """A reason to promote or to roll back. At equal times rollbacks sort before promotions."""

    at: float
    promotes: bool
    reason: str


def judge_canary(evidence: CanaryEvidence, config: OnlineGateConfig) -> OnlineVerdict:
    """Return whether the canary is promoted, rolled back or continued."""
    found, frozen = decision(evidence, config)
    return _verdict(evidence, config, found, frozen=frozen)


def decision(evidence: CanaryEvidence, config: OnlineGateConfig) -> tuple[Decision | None, bool]:
    """Return the earliest decision about the canary, if any, and whether promotion is frozen."""
    frozen = voting_curve(evidence).crossing(1 / config.alpha_guardrail)
    promotions = [
        found
        for found in (*_better(evidence, config), *_not_worse(evidence, config))
        if frozen is None or found.at <= frozen
    ]
    found = [*_alarms(evidence, config), *_worse(evidence, config), *promotions]
    if evidence.age_days >= config.longest_days:
        why = f"Nothing was shown within {config.longest_days:g} days."
        found.append(Decision(config.longest_days * DAY_SECONDS, promotes=False, reason=why))
    return min(found, default=None), frozen is not None


def judge_watch(evidence: CanaryEvidence, config: OnlineGateConfig) -> OnlineVerdict:
    """Return whether a promoted version is rolled back or watched further.

    The arm `live` holds the users who keep the previous version. This function never promotes, and
    its caller decides when the watch ends.
    """
    found = [*_alarms(evidence, config), *_worse(evidence, config)]
    return _verdict(evidence, config, min(found, default=None), frozen=False)


def _alarms(evidence: CanaryEvidence, config: OnlineGateConfig) -> list[Decision]:
    """Return a rollback for each guardrail that was crossed, whatever the votes are."""
    threshold = 1 / config.alpha_guardrail
    found = []
    for name, curve in evidence.alarms.items():
        at = curve.crossing(threshold)
        if at is not None:
            reason = f"Guardrail {name}: E reached {threshold:g} against the canary."
            found.append(Decision(at, promotes=False, reason=reason))
    return found


def _worse(evidence: CanaryEvidence, config: OnlineGateConfig) -> list[Decision]:
    return _stream_decisions(evidence, config, len(STREAMS) / config.alpha_roll_back, better=False)


def _better(evidence: CanaryEvidence, config: OnlineGateConfig) -> list[Decision]:
    return _stream_decisions(evidence, config, len(STREAMS) / config.alpha_promote, better=True)


def _stream_decisions(
    evidence: CanaryEvidence, config: OnlineGateConfig, threshold: float, *, better: bool
) -> list[Decision]:
    """Return when each stream first showed the claim, counted from enough rated users on."""
    since = _enough(evidence, config)
    if since is None:
        return []
    found = []
    for stream in STREAMS:
        curves = stream_curves(evidence, stream)
        at = (curves.better if better else curves.worse).crossing(threshold, since=since)
        if at is not None:
            claim = "better" if better else "worse"
            reason = f"Votes ({stream}) show the canary to be {claim}: E reached {threshold:g}."
            found.append(Decision(at, promotes=better, reason=reason))
    return found


def _not_worse(evidence: CanaryEvidence, config: OnlineGateConfig) -> list[Decision]:
    since = _enough(evidence, config)
    if config.margin is None or since is None:
        return []
    curve = vote_curve(evidence, "day", "better", margin=-config.margin)
    at = curve.crossing(1 / config.alpha_margin, since=since)
    reason = f"Votes show the canary to be worse by less than {config.margin:g}."
    return [] if at is None else [Decision(at, promotes=True, reason=reason)]


def _enough(evidence: CanaryEvidence, config: OnlineGateConfig) -> float | None:
    """Return when the minimum number of rated users was reached, or None."""
    if len(evidence.first) < config.rated_users:
        return None
    return evidence.first[config.rated_users - 1].at


def _verdict(
    evidence: CanaryEvidence, config: OnlineGateConfig, first: Decision | None, *, frozen: bool
) -> OnlineVerdict:
    low, high = interval(evidence)
    canary_users = sum(unit.canary for _, unit in evidence.first)
    return OnlineVerdict(
        outcome="continue" if first is None else "promote" if first.promotes else "roll_back",
        reason="Nothing is decided yet." if first is None else first.reason,
        at=None if first is None else first.at,
        frozen=frozen,
        voting=_finite(voting_curve(evidence).last),
        streams=_stream_figures(evidence),
        guardrails=_guardrail_figures(evidence, config),
        canary_users=canary_users,
        live_users=len(evidence.first) - canary_users,
        low=low,
        high=high,
        needed=_needed(evidence, config),
        comparisons=_comparison_figures(evidence),
    )


def _stream_figures(evidence: CanaryEvidence) -> dict[Stream, StreamFigures]:
    figures: dict[Stream, StreamFigures] = {}
    for stream in STREAMS:
        curves = stream_curves(evidence, stream)
        figures[stream] = StreamFigures(
            users=len(evidence.of(stream)),
            better=_finite(curves.better.last),
            worse=_finite(curves.worse.last),
        )
    return figures


def _comparison_figures(evidence: CanaryEvidence) -> ComparisonFigures:
    said = Counter((one.canary_won, one.both_bad) for one in evidence.compared)
    return ComparisonFigures(
        won=said[True, False],
        lost=said[False, False],
        tied=said[None, False],
        both_bad=said[None, True],
    )


def _guardrail_figures(
    evidence: CanaryEvidence, config: OnlineGateConfig
) -> dict[str, GuardrailFigures]:
    return {
        name: GuardrailFigures(
            users=curve.times.size,
            evidence=_finite(curve.last),
            threshold=1 / config.alpha_guardrail,
        )
        for name, curve in evidence.alarms.items()
    }


def interval(evidence: CanaryEvidence) -> tuple[float, float]:
    """Return a 95 % confidence sequence for canary minus live in mean votes, from stream `day`.

    It holds the differences that no test has rejected so far, and so is valid at all times
    simultaneously. Its ends lie in [-0.3, 0.3].
    """
    threshold = 2 / _INTERVAL_ALPHA
    votes = evidence.votes["day"]
    low = _last_rejected(
        _DIFFERENCES, lambda one: bool((votes.path("better", one) >= threshold).any())
    )
    high = _last_rejected(
        _DIFFERENCES[::-1], lambda one: bool((votes.path("worse", one) >= threshold).any())
    )
    return low, high


def _last_rejected(differences: Sequence[float], rejected: Callable[[float], bool]) -> float:
    """Return the last rejected difference, or the first difference if none is rejected.

    The evidence decreases along `differences`, so a binary search finds it.
    """
    place = bisect_left(differences, 1, key=lambda one: 0 if rejected(one) else 1)
    return differences[max(place - 1, 0)]


def _needed(evidence: CanaryEvidence, config: OnlineGateConfig) -> int:
    """Estimate the further rated users until a promotion, at the current share.

    The missing log-evidence is divided by the growth rate of the best bet: a bet with mean m and
    variance v grows by at most m²/2v per user (Kelly; arXiv:2010.09686). Here m = share (1 - share)
    times the expected difference, and v = share (1 - share) times the variance of votes.
    """
    votes = [unit.vote for _, unit in evidence.day]
    share = evidence.first[-1].unit.share if evidence.first else 0.5
    variance = max(float(np.var(votes)), BETS[0]) if votes else 0.25
    best = max((stream_curves(evidence, stream).better.last for stream in STREAMS), default=1.0)
    missing = log(len(STREAMS) / config.alpha_promote) - log(max(best, 1e-9))
    growth = share * (1 - share) * _EXPECTED**2 / (2 * variance)
    return max(0, round(missing / growth)) if growth > 0 else 0


def _finite(value: float) -> float:
    """Return the evidence capped to a finite number, since JSON has no infinity."""
    return min(value, 1e300)
