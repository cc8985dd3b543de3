"""Figures of the demo's report, computed from answers with the hidden utility and without noise.

They inform the reader only; the gate decides with its own judge.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest

from demo.shop.taste import Features, features, style_of, utility
from demo.shop.world import STYLE_SHARES, ShopQuestion

TIE_WIDTH = 0.05
"""Answers whose utilities differ by less than this are a tie: one word of excess length."""

Answered = Sequence[tuple[ShopQuestion, str]]


class AnswerFigures(BaseModel):
    """Properties of a version's answers: shares in [0, 1] and means over answers."""

    model_config = ConfigDict(frozen=True)

    n: int
    correct: float
    polite: float
    rude: float
    words: float
    utility: float
    style_mix: Mapping[str, float]


class MeasuredWinRate(BaseModel):
    """How often A beats B among `n` comparisons, ties counting half.

    `low` and `high` bound `rate` with 95 % confidence (Clopper-Pearson on the decisive
    comparisons, given the number of ties); `p` is the exact one-sided sign test's against
    "A is no better". Comparisons are taken as independent.
    """

    model_config = ConfigDict(frozen=True)

    rate: float
    low: float
    high: float
    p: float
    n: int


def answer_figures(answered: Answered) -> AnswerFigures:
    """Describe the answers. Raises ValueError when there are none."""
    if not answered:
        raise ValueError("no answers to describe: ask the version something first")
    seen = [features(question, text) for question, text in answered]
    return AnswerFigures(
        n=len(answered),
        correct=_share(seen, "correct"),
        polite=_share(seen, "polite"),
        rude=_share(seen, "rude"),
        words=_share(seen, "words"),
        utility=fmean(utility(question, text) for question, text in answered),
        style_mix=_style_mix(answered),
    )


def win_rate(
    questions: Sequence[ShopQuestion], a: Sequence[str], b: Sequence[str]
) -> MeasuredWinRate:
    """Compare two versions' answers to the same questions, position by position.

    Raises ValueError when the lengths differ or there is nothing to compare.
    """
    gaps = [
        utility(question, mine) - utility(question, other)
        for question, mine, other in zip(questions, a, b, strict=True)
    ]
    wins = sum(gap >= TIE_WIDTH for gap in gaps)
    losses = sum(gap <= -TIE_WIDTH for gap in gaps)
    return win_rate_of(wins, losses, len(gaps) - wins - losses)


def win_rate_of(wins: int, losses: int, ties: int) -> MeasuredWinRate:
    """Compute rate, interval and p from the counts. Raises ValueError if all are zero."""
    n, decisive = wins + losses + ties, wins + losses
    if n == 0:
        raise ValueError("nothing to compare: the two versions answered no question")
    if decisive == 0:
        return MeasuredWinRate(rate=0.5, low=0.0, high=1.0, p=1.0, n=n)
    bounds = binomtest(wins, decisive).proportion_ci(confidence_level=0.95, method="exact")
    return MeasuredWinRate(
        rate=(wins + ties / 2) / n,
        low=(bounds.low * decisive + ties / 2) / n,
        high=(bounds.high * decisive + ties / 2) / n,
        p=float(binomtest(wins, decisive, alternative="greater").pvalue),
        n=n,
    )


def _share(seen: Sequence[Features], name: str) -> float:
    return fmean(float(getattr(one, name)) for one in seen)


def _style_mix(answered: Answered) -> dict[str, float]:
    counts = Counter(style_of(question, text) for question, text in answered)
    return {style: counts[style] / len(answered) for style in STYLE_SHARES}
