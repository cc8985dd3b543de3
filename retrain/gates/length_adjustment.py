"""Test whether the candidate wins at equal length of the answers.

A judge that prefers long answers would promote a verbose candidate. As in length-controlled
AlpacaEval (arXiv:2404.04475), a logistic regression over the decisive questions separates quality
from length: `P(win) = logistic(quality + slope * log length ratio)`. The test is of `quality > 0`.
It uses the signed root of the likelihood ratio instead of a Wald test, because that statistic stays
finite if length separates wins from losses perfectly.
"""

from collections.abc import Sequence
from math import log, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

Floats = npt.NDArray[np.floating]

RIDGE = 1e-6
"""Weight of the L2 penalty, which keeps the estimates finite under separation. It is too small to
change the p-value otherwise."""

SAME_LENGTH = 1e-9
"""Log length ratios whose spread is at most this are taken to be equal."""
GRADIENT = 1e-7
"""Largest component of the gradient at which the fit has converged (BFGS `gtol`)."""


class LengthPoint(NamedTuple):
    """One question: `score` 1, 0 or -1 (won, tied or lost) and the mean log length ratio."""

    score: int
    log_ratio: float


def log_length_ratio(candidate_words: int, live_words: int) -> float:
    """Return log((candidate + 1) / (live + 1)); adding one keeps it finite for empty answers."""
    return log((candidate_words + 1) / (live_words + 1))


def length_adjusted_p(questions: Sequence[LengthPoint], p_raw: float) -> float:
    """Return the one-sided p-value for "the candidate wins more than half at equal length".

    Unlike the sign test it is asymptotic. Special cases:

    - No decisive question: 1.
    - Every length ratio is 1: `p_raw`, since length explains nothing.
    - Every length ratio is the same other number: 0.5, since length and quality cannot be
      distinguished.

    Args:
        questions: One point per question.
        p_raw: The p-value of the exact sign test on the same questions.

    """
    decisive = [question for question in questions if question.score]
    if not decisive:
        return 1.0
    ratios = np.array([question.log_ratio for question in decisive])
    scale = float(np.sqrt(np.mean(ratios**2)))
    if scale <= SAME_LENGTH:
        return p_raw
    if np.ptp(ratios) <= SAME_LENGTH:
        return 0.5
    signs = np.array([float(question.score) for question in decisive])
    return _intercept_p(signs, ratios / scale)


def _intercept_p(signs: Floats, ratios: Floats) -> float:
    """Return the p-value of `quality > 0`.

    Args:
        signs: [n] float64 of +1 and -1.
        ratios: [n] float64, scaled to a root mean square of 1.

    """
    full, coefficients = _fit(signs[:, None] * np.column_stack((ratios, np.ones_like(ratios))))
    restricted, _ = _fit(signs[:, None] * ratios[:, None])
    root = sqrt(max(2 * (restricted - full), 0.0))
    return float(norm.sf(root if coefficients[1] > 0 else -root))


def _fit(rows: Floats) -> tuple[float, Floats]:
    """Minimise the penalised logistic loss of `rows @ b`.

    Args:
        rows: [n, k] float64, the inputs times the sign of the outcome.

    Returns:
        The least loss, and the `b` that attains it, [k] float64.

    """
    start = np.zeros(rows.shape[1])
    found = minimize(
        _loss, start, args=(rows,), jac=True, method="BFGS", options={"gtol": GRADIENT}
    )
    return float(found.fun), found.x


def _loss(coefficients: Floats, rows: Floats) -> tuple[float, Floats]:
    """Return the loss at `coefficients` [k], and its gradient [k]."""
    margins = rows @ coefficients
    penalty = RIDGE / 2 * float(coefficients @ coefficients)
    gradient = RIDGE * coefficients - rows.T @ expit(-margins)
    return float(np.logaddexp(0, -margins).sum()) + penalty, gradient
