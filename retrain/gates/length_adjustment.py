"""Whether the candidate still wins once the length of its answers is allowed for.

A judge that loves length lets a candidate through for being wordy. Among decisive questions,
`P(win) = logistic(quality + slope * log length ratio)`; the test is of `quality > 0`, the wins at
equal length. It is a signed likelihood-ratio test rather than one of the estimate over its error,
because its statistic stays finite where length separates wins from losses altogether.
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
"""Weight of the penalty that keeps the estimates finite under separation; too small to matter."""

SAME_LENGTH = 1e-9
GRADIENT = 1e-7
"""Largest component of the gradient at which the fit has converged."""


class LengthPoint(NamedTuple):
    """One question: `score` 1, 0 or -1 (won, tied, lost) and the mean log length ratio."""

    score: int
    log_ratio: float


def log_length_ratio(candidate_words: int, live_words: int) -> float:
    """Log of candidate's over live's words; one is added to both so that empty answers count."""
    return log((candidate_words + 1) / (live_words + 1))


def length_adjusted_p(questions: Sequence[LengthPoint], p_raw: float) -> float:
    """One-sided p-value that the candidate wins more than half at equal length.

    Asymptotic, unlike the sign test it stands beside. Degenerate evidence:

    - Every ratio is 1: length explains nothing, and the exact `p_raw` is the answer.
    - Every ratio is the same other number: length and quality cannot be told apart, so nothing is
      shown (0.5). No decisive question at all gives 1.
    - Length separates wins from losses: the estimates run away, the likelihood ratio does not.
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
    """`signs` (n,) of +1 and -1, `ratios` (n,) scaled to a root mean square of 1."""
    full, coefficients = _fit(signs[:, None] * np.column_stack((ratios, np.ones_like(ratios))))
    restricted, _ = _fit(signs[:, None] * ratios[:, None])
    root = sqrt(max(2 * (restricted - full), 0.0))
    return float(norm.sf(root if coefficients[1] > 0 else -root))


def _fit(rows: Floats) -> tuple[float, Floats]:
    """Minimise the penalised logistic loss of `rows @ b`.

    Args:
        rows: (n, k) float64, the inputs times the sign of the outcome.

    Returns:
        The least loss, and `b` (k,).

    """
    start = np.zeros(rows.shape[1])
    found = minimize(
        _loss, start, args=(rows,), jac=True, method="BFGS", options={"gtol": GRADIENT}
    )
    return float(found.fun), found.x


def _loss(coefficients: Floats, rows: Floats) -> tuple[float, Floats]:
    """The loss at `coefficients` (k,), and its gradient (k,)."""
    margins = rows @ coefficients
    penalty = RIDGE / 2 * float(coefficients @ coefficients)
    gradient = RIDGE * coefficients - rows.T @ expit(-margins)
    return float(np.logaddexp(0, -margins).sum()) + penalty, gradient
