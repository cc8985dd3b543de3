"""The offline gate's error rates by exact enumeration, for the benchmark and its test."""

import numpy as np
from scipy.stats import binom

from retrain.config import GateConfig


def critical_wins(decisive: int, alpha: float) -> int:
    """The fewest wins of `decisive` that pass at `alpha`; `decisive + 1` where none does."""
    fewest = int(binom.isf(alpha, decisive, 0.5)) + 1
    while fewest > 0 and binom.sf(fewest - 2, decisive, 0.5) <= alpha:
        fewest -= 1
    while fewest <= decisive and binom.sf(fewest - 1, decisive, 0.5) > alpha:
        fewest += 1
    return fewest


def power(config: GateConfig, true_rate: float, tie_share: float = 0.0) -> float:
    """Exact probability that the sign test passes with `config.comparisons` independent questions.

    Args:
        config: Gives the number of questions and alpha.
        true_rate: Wins over wins and losses, in truth.
        tie_share: Probability that a question is tied.

    """
    asked = config.comparisons
    decisive = np.arange(asked + 1)
    weight = binom.pmf(decisive, asked, 1 - tie_share)
    critical = np.array([critical_wins(int(n), config.alpha) for n in decisive])
    return float(np.sum(weight * binom.sf(critical - 1, decisive, true_rate)))


def false_promotion(config: GateConfig, tie_share: float = 0.0) -> float:
    """Exact probability that an equally good candidate passes the sign test; at most alpha."""
    return power(config, 0.5, tie_share)
