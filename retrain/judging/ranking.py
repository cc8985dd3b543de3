"""How well scores rank the answers that people called good above those they called bad. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retrain.judging.storage import Ranking

Floats = npt.NDArray[np.floating[Any]]

DRAWS = 1_000
"""Bootstrap draws."""
CHUNK = 50
"""Draws that are computed at once, which bounds memory."""
ENDS = (0.025, 0.975)
"""Quantiles of the interval."""


class Rated(NamedTuple):
    """The score of an answer, and whether a person called it good."""

    rater: str
    score: float
    good: bool


def ranking(rated: Sequence[Rated], *, seed: int = 0, draws: int = DRAWS) -> Ranking | None:
    """Return the AUROC with an interval from a bootstrap over people; None if all agree.

    The AUROC is the probability that a good answer has a higher score than a bad one, a tie
    counting as half (Mann and Whitney, 1947). People are drawn, not answers, since the answers of
    one person share that person's taste.
    """
    good = sum(one.good for one in rated)
    if not good or good == len(rated):
        return None
    raters = sorted({one.rater for one in rated})
    places = {rater: place for place, rater in enumerate(raters)}
    ordered = sorted(rated, key=lambda one: one.score)
    found = _aurocs(ordered, np.array([places[one.rater] for one in ordered]), seed, draws)
    low, high = np.nanquantile(found, ENDS)
    return Ranking(
        auroc=float(found[0]),
        low=float(low),
        high=float(high),
        good=good,
        bad=len(rated) - good,
        raters=len(raters),
    )


def _aurocs(ordered: Sequence[Rated], places: Any, seed: int, draws: int) -> Floats:
    """Return the AUROC of each draw of people, [draws]; the first draw is the data."""
    good = np.array([one.good for one in ordered])
    scores = np.array([one.score for one in ordered])
    ties = np.unique(scores, return_inverse=True)[1]
    count, draw = int(places.max()) + 1, np.random.default_rng(seed)
    weights = draw.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)
    weights[0] = 1
    parts = [
        _weighted(weights[start : start + CHUNK, places], good, ties)
        for start in range(0, draws, CHUNK)
    ]
    return np.concatenate(parts)


def _weighted(weights: Floats, good: Any, ties: Any) -> Floats:
    """Return the AUROC of each row of weights, NaN where one kind of answer is missing.

    Args:
        weights: The weight of each answer, [rows, n], the answers sorted by score.
        good: bool [n].
        ties: int [n], equal for equal scores, rising from 0.

    """
    starts = np.flatnonzero(np.diff(ties, prepend=-1))
    better = np.add.reduceat(weights * good, starts, axis=1)
    worse = np.add.reduceat(weights * ~good, starts, axis=1)
    below = np.cumsum(worse, axis=1) - worse
    pairs = better.sum(axis=1) * worse.sum(axis=1)
    with np.errstate(invalid="ignore"):
        found: Floats = (better * (below + worse / 2)).sum(axis=1) / pairs
    return found
