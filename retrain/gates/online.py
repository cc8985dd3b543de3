"""The online gate: users decide what stays. Evidence so far in, a verdict with every number out.

The user is the unit: the votes of one user hang together and base rates drift, and tests that count
votes are wrong by a factor of ten. Each user speaks once in each of two streams (the first vote;
the mean of the first day's), and either stream may decide, at half the error probability each.
Pure, and a function of the whole history: whoever asks later gets the same answer, also after a
restart. `bench/online_gate.py` simulates it.
"""

from bisect import bisect_left
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
_DIFFERENCES = tuple(round(step / 100, 2) for step in range(-30, 31))
_EXPECTED = 0.05
"""The difference in mean votes for which the users still needed are told."""


class StreamFigures(FrozenModel):
    """One stream: users so far, and the evidence that the canary is better and that it is worse."""

    users: int
    better: float
    worse: float


class GuardrailFigures(FrozenModel):
    """One guardrail's evidence against the canary, over `users` first events."""

    users: int
    evidence: float
    threshold: float


class OnlineVerdict(FrozenModel):
    """What the gate says now, with its numbers.

    `at` is when the deciding evidence was complete, in seconds since the canary began. `frozen`:
    voting differs by arm (`voting` is the evidence), so nothing is promoted. `low` and `high` bound
    the difference in mean votes, canary minus live, at all times at once (95 %). `needed` are the
    rated users that a promotion still takes if the canary is better by five points.
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


class Decision(NamedTuple):
    """Something that decides; of two at one moment the cautious one comes first."""

    at: float
    promotes: bool
    reason: str


def judge_canary(evidence: CanaryEvidence, config: OnlineGateConfig) -> OnlineVerdict:
    """Whether the canary is promoted, rolled back, or goes on."""
    found, frozen = decision(evidence, config)
    return _verdict(evidence, config, found, frozen=frozen)


def decision(evidence: CanaryEvidence, config: OnlineGateConfig) -> tuple[Decision | None, bool]:
    """What decides about the canary first, if anything does, and whether promotion is frozen."""
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
    """Whether what was promoted stays; `live` users are those held back on the version before.

    It promotes nothing, and when the watch ends is for its caller to say.
    """
    found = [*_alarms(evidence, config), *_worse(evidence, config)]
    return _verdict(evidence, config, min(found, default=None), frozen=False)


def _alarms(evidence: CanaryEvidence, config: OnlineGateConfig) -> list[Decision]:
    """Guardrails end it at once and are never weighed against quality."""
    threshold = 1 / config.alpha_guardrail
    found = []
    for name, curve in evidence.alarms.items():
        at = curve.crossing(threshold)
        if at is not None:
            reason = f"Guardrail {name}: E reached {threshold:g} against the canary."
            found.append(Decision(at, promotes=False, reason=reason))
    return found


def _worse(evidence: CanaryEvidence, config: OnlineGateConfig) -> list[Decision]:
    return _shown(evidence, config, len(STREAMS) / config.alpha_roll_back, better=False)


def _better(evidence: CanaryEvidence, config: OnlineGateConfig) -> list[Decision]:
    return _shown(evidence, config, len(STREAMS) / config.alpha_promote, better=True)


def _shown(
    evidence: CanaryEvidence, config: OnlineGateConfig, threshold: float, *, better: bool
) -> list[Decision]:
    """When a stream first showed the claim, once there were enough rated users."""
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
    """When there were enough rated users to decide about quality."""
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
        voting=_shown_as(voting_curve(evidence).last),
        streams=_stream_figures(evidence),
        guardrails=_guardrail_figures(evidence, config),
        canary_users=canary_users,
        live_users=len(evidence.first) - canary_users,
        low=low,
        high=high,
        needed=_needed(evidence, config),
    )


def _stream_figures(evidence: CanaryEvidence) -> dict[Stream, StreamFigures]:
    figures: dict[Stream, StreamFigures] = {}
    for stream in STREAMS:
        curves = stream_curves(evidence, stream)
        figures[stream] = StreamFigures(
            users=len(evidence.of(stream)),
            better=_shown_as(curves.better.last),
            worse=_shown_as(curves.worse.last),
        )
    return figures


def _guardrail_figures(
    evidence: CanaryEvidence, config: OnlineGateConfig
) -> dict[str, GuardrailFigures]:
    return {
        name: GuardrailFigures(
            users=curve.times.size,
            evidence=_shown_as(curve.last),
            threshold=1 / config.alpha_guardrail,
        )
        for name, curve in evidence.alarms.items()
    }


def interval(evidence: CanaryEvidence) -> tuple[float, float]:
    """A confidence sequence for the difference in mean votes, from the first day's stream.

    The differences that no evidence has spoken against so far: 95 % at all times at once. It can be
    no wider than the grid, from -0.3 to 0.3.
    """
    threshold = 2 / _INTERVAL_ALPHA
    votes = evidence.votes["day"]
    low = _last_denied(
        _DIFFERENCES, lambda one: bool((votes.path("better", one) >= threshold).any())
    )
    high = _last_denied(
        _DIFFERENCES[::-1], lambda one: bool((votes.path("worse", one) >= threshold).any())
    )
    return low, high


def _last_denied(differences: Sequence[float], denied: Callable[[float], bool]) -> float:
    """The last difference that evidence has spoken against, else the first; it wanes along them."""
    place = bisect_left(differences, 1, key=lambda one: 0 if denied(one) else 1)
    return differences[max(place - 1, 0)]


def _needed(evidence: CanaryEvidence, config: OnlineGateConfig) -> int:
    """The rated users still to come, at the present share (gates.md: growth rate of the bet)."""
    votes = [unit.vote for _, unit in evidence.day]
    share = evidence.first[-1].unit.share if evidence.first else 0.5
    variance = max(float(np.var(votes)), BETS[0]) if votes else 0.25
    best = max((stream_curves(evidence, stream).better.last for stream in STREAMS), default=1.0)
    missing = log(len(STREAMS) / config.alpha_promote) - log(max(best, 1e-9))
    growth = share * (1 - share) * _EXPECTED**2 / (2 * variance)
    return max(0, round(missing / growth)) if growth > 0 else 0


def _shown_as(value: float) -> float:
    """Evidence as JSON can hold it."""
    return min(value, 1e300)
