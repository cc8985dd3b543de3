"""Correct a win rate for the judge's errors, with an interval that carries their uncertainty. Pure.

The judge's errors are measured where people compared the same answers. The correction is that of
Rogan and Gladen (1978, Am. J. Epidemiology 107:71): of decisive questions with symmetric errors,
or, where people also say "equally good", of three outcomes with a 3 x 3 matrix of errors, fitted by
maximum likelihood. Both assume that the judge errs on the candidate's answers as it does on those
that people compared. The interval is a percentile bootstrap that draws questions and people anew.

People err as well. Where several compared the same answers, the judge is held against what most of
them would say: if two people agree on a share q of the pairs, a vote is right with
p = (1 + sqrt(2 q - 1)) / 2. Elsewhere their votes count as true, so the judge looks worse than it
is, and the corrected rate lies further from one half than the true one.

The sign test of the gate is not corrected: symmetric errors never turn it round.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from common.frozen_model import FrozenModel
from retrain.gates.judge_agreement import Calibration, mutual_agreement, sign

Floats = npt.NDArray[np.floating[Any]]

DRAWS = 2_000
"""Bootstrap draws."""
ENDS = (0.025, 0.975)
"""Quantiles of the interval."""
TIES = 20
"""People's ties from which on ties are an outcome of their own."""
REPEATED = 30
"""Pairs of people's verdicts on the same answers from which on their own errors are allowed for."""
SMOOTHING = 0.5
"""Added to each cell of the 3 x 3 counts, so that a rare outcome has no empty row."""
ROUNDS = 300
"""Rounds of expectation and maximisation."""
OUTCOMES = (1, 0, -1)
"""Win, tie, loss."""


class Outcomes(NamedTuple):
    """The judge's verdicts on the evaluation's questions."""

    wins: int
    losses: int
    ties: int


class Corrected(FrozenModel):
    """How often people would prefer the candidate, with a 95 % interval.

    Attributes:
        rate: The share of decisive questions won, or with `three outcomes` won plus half the ties.
        low: Lower end of the interval.
        high: Upper end of the interval.
        method: Which correction.
        accuracy: The judge's share of right verdicts, as it was corrected for.

    """

    rate: float
    low: float
    high: float
    method: Literal["decisive", "three outcomes"]
    accuracy: float


def correct(
    outcomes: Outcomes, seen: Sequence[Calibration], *, seed: int = 0, draws: int = DRAWS
) -> Corrected | None:
    """Return the corrected win rate; None if people or the judge decided nothing.

    Args:
        outcomes: The judge's verdicts on the evaluation's questions.
        seen: The comparisons of held-out people, with the judge's.
        seed: Of the bootstrap.
        draws: Of the bootstrap.

    """
    counts = _by_rater(seen)
    if not outcomes.wins + outcomes.losses or not counts[:, ::2, ::2].sum():
        return None
    draw = np.random.default_rng(seed)
    weights = _weights(len(counts), draws, draw)
    tables = np.tensordot(weights, counts, axes=1)
    people = _people(seen, draws, draw)
    judged = _judged(outcomes, draws, draw)
    if counts[:, 1].sum() >= TIES:
        return _three_outcomes(judged, tables)
    return _decisive(judged, tables, people)


def vote_accuracy(agreement: float) -> float:
    """Return how often a person's vote is what most people would say.

    `agreement` is the share of pairs of people who agree. One half or less tells nothing; then 1.
    """
    return float((1 + np.sqrt(2 * agreement - 1)) / 2) if agreement > 0.5 else 1.0  # noqa: PLR2004


def _decisive(judged: Floats, tables: Floats, people: Floats) -> Corrected:
    """Correct decisive questions. The first draw of each array is the estimate itself.

    Args:
        judged: Wins, ties and losses, [draws, 3].
        tables: Counts by person's and judge's outcome, [draws, 3, 3].
        people: How often a person's vote is right, [draws].

    """
    right = tables[:, 0, 0] + tables[:, 2, 2]
    wrong = tables[:, 0, 2] + tables[:, 2, 0]
    raw = right / np.maximum(right + wrong, 1)
    accuracy = np.minimum((raw + people - 1) / (2 * people - 1), 1)
    observed = judged[:, 0] / np.maximum(judged[:, 0] + judged[:, 2], 1)
    informed = accuracy > 0.5  # noqa: PLR2004 - a coin
    span = np.where(informed, 2 * accuracy - 1, 1)
    rates = np.clip((observed + accuracy - 1) / span, 0, 1)
    return _corrected(rates, informed, "decisive", float(accuracy[0]))


def _three_outcomes(judged: Floats, tables: Floats) -> Corrected:
    """Correct wins, ties and losses. The arguments are those of `_decisive`.

    Errors are symmetric: exchanging the two answers exchanges win and loss for both.
    """
    symmetric = tables + tables[:, ::-1, ::-1] + SMOOTHING
    errors = symmetric / symmetric.sum(axis=2, keepdims=True)
    shares = _most_likely(judged, errors)
    rates = shares[:, 0] + shares[:, 1] / 2
    informed = errors[:, 0, 0] > errors[:, 0, 2]
    decided = errors[0, 0, 0] + errors[0, 0, 2]
    return _corrected(rates, informed, "three outcomes", float(errors[0, 0, 0] / decided))


def _most_likely(judged: Floats, errors: Floats) -> Floats:
    """Return the most likely true shares of the outcomes, [draws, 3], by EM (Dempster 1977)."""
    shares = np.full_like(judged, 1 / 3)
    for _ in range(ROUNDS):
        expected = np.einsum("dt,dto->do", shares, errors)
        shares = shares * np.einsum("dto,do->dt", errors, judged / np.maximum(expected, 1e-12))
        shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _corrected(
    rates: Floats,
    informed: npt.NDArray[np.bool_],
    method: Literal["decisive", "three outcomes"],
    accuracy: float,
) -> Corrected:
    """Take the first draw as the estimate. Draws in which the judge is a coin say nothing."""
    return Corrected(
        rate=float(rates[0]) if informed[0] else 0.5,
        low=float(np.quantile(np.where(informed, rates, 0), ENDS[0])),
        high=float(np.quantile(np.where(informed, rates, 1), ENDS[1])),
        method=method,
        accuracy=accuracy,
    )


def _by_rater(seen: Iterable[Calibration]) -> Floats:
    """Return the counts by person's and judge's outcome, [raters, 3, 3]."""
    found: dict[Hashable, Floats] = defaultdict(lambda: np.zeros((3, 3)))
    for one in seen:
        found[one.rater][OUTCOMES.index(sign(one.person)), OUTCOMES.index(sign(one.judge))] += 1
    return np.array(list(found.values())) if found else np.zeros((0, 3, 3))


def _weights(raters: int, draws: int, draw: np.random.Generator) -> Floats:
    """Return how often each person is drawn, [draws, raters]; the first draw is the data."""
    if not raters:
        return np.zeros((draws, 0))
    weights = draw.multinomial(raters, np.full(raters, 1 / raters), size=draws).astype(float)
    weights[0] = 1
    return weights


def _judged(outcomes: Outcomes, draws: int, draw: np.random.Generator) -> Floats:
    """Return wins, ties and losses of each draw of questions, [draws, 3]."""
    counts = np.array([outcomes.wins, outcomes.ties, outcomes.losses], dtype=float)
    drawn = draw.multinomial(int(counts.sum()), counts / counts.sum(), size=draws).astype(float)
    drawn[0] = counts
    return drawn


def _people(seen: Sequence[Calibration], draws: int, draw: np.random.Generator) -> Floats:
    """Return how often a person's vote is right, [draws]; 1 where that is not known."""
    found = mutual_agreement([one for one in seen if sign(one.person)])
    if found is None or found.comparisons < REPEATED:
        return np.ones(draws)
    agreed = found.rate * found.comparisons
    drawn = draw.beta(agreed + 0.5, found.comparisons - agreed + 0.5, size=draws)
    drawn[0] = found.rate
    return np.array([vote_accuracy(one) for one in drawn])
