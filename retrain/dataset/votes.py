"""Judgements of one answer by itself, counted by text: thumbs, ratings, metrics that train. Pure.

Each rater has at most one vote on a text, however often it was answered and by however many metrics
it was judged: the sum of the rater's judgements, limited to -1 (bad) and 1 (good). By one metric,
the rater's last judgement on the text counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import fsum
from typing import Any

from feedback.config import MetricConfig
from feedback.metrics.ordering import ordering_of
from feedback.metrics.verdict import verdict_of
from feedback.reading.judgements import Judgement
from retrain.config import PairsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.judged import ConversationView, Key, Rater, Side, judged_answer, rater_of
from retrain.trainer.examples.rows import Signal

THUMBS, RATING = "thumbs", "rating"
_DIGITS = 9
"""Decimal digits of a sum of votes; smaller differences are attributed to rounding."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """One judgement of one answer by itself: -1 (bad) to 1 (good), 0 for neither."""

    judgement: str
    rater: Rater
    metric: str
    answer: Key
    value: float

    @property
    def signal(self) -> Signal:
        """What kind of evidence it is."""
        return "thumbs" if self.metric in (THUMBS, RATING) else "metric"


@dataclass(slots=True)
class TextVotes:
    """The opinions of all raters on one text, the last of each rater and metric."""

    side: Side
    opinions: dict[tuple[Rater, str], Opinion] = field(default_factory=dict)

    @property
    def judgements(self) -> frozenset[str]:
        """The ids of the judgements."""
        return frozenset(opinion.judgement for opinion in self.opinions.values())

    @property
    def net(self) -> float:
        """The sum of the raters' votes."""
        return self._net(self.opinions.values())

    @property
    def net_thumbs(self) -> float:
        """The sum of the raters' votes without ratings, whose scales differ from rater to rater."""
        return self._net(self._without_ratings())

    @property
    def without_ratings(self) -> frozenset[str]:
        """The ids of the judgements that are no ratings."""
        return frozenset(opinion.judgement for opinion in self._without_ratings())

    @property
    def signal(self) -> Signal:
        """What kind of evidence they are: thumbs, if any of them is a thumb or a rating."""
        signals = {opinion.signal for opinion in self.opinions.values() if opinion.value}
        return "thumbs" if "thumbs" in signals else "metric"

    @property
    def order(self) -> tuple[float, bytes]:
        """Sort key: the largest majority first, equal ones in pseudo-random order."""
        text = self.side.content.encode("utf-8", "surrogatepass")
        return -abs(self.net_thumbs), blake2b(text, digest_size=8).digest()

    def _without_ratings(self) -> list[Opinion]:
        return [opinion for opinion in self.opinions.values() if opinion.metric != RATING]

    @staticmethod
    def _net(opinions: Iterable[Opinion]) -> float:
        by_rater: dict[Rater, list[float]] = {}
        for opinion in opinions:
            by_rater.setdefault(opinion.rater, []).append(opinion.value)
        votes = (max(-1.0, min(1.0, fsum(values))) for values in by_rater.values())
        return round(fsum(votes), _DIGITS)


def count_votes(view: ConversationView, judgements: Sequence[Judgement]) -> list[TextVotes]:
    """Return the votes on each text; unusable answers and replaced opinions are counted in `view`.

    Args:
        view: The conversation.
        judgements: The judgements that count, oldest first.

    """
    votes: dict[str, TextVotes] = {}
    for opinion in _opinions(view, judgements):
        side = view.side(opinion.answer, opinion.judgement)
        if side is None:
            continue
        found = votes.setdefault(side.content, TextVotes(side))
        if (side.truncated, side.key) < (found.side.truncated, found.side.key):
            found.side = side
        subject = (opinion.rater, opinion.metric)
        if earlier := found.opinions.get(subject):
            view.leave_out(Filter.SUPERSEDED, [earlier.judgement])
        found.opinions[subject] = opinion
    return list(votes.values())


def _opinions(view: ConversationView, judgements: Iterable[Judgement]) -> Iterator[Opinion]:
    for judgement in judgements:
        yield from opinions_of(judgement, view.config, view.metrics)


def opinions_of(
    judgement: Judgement, config: PairsConfig, metrics: Mapping[str, MetricConfig]
) -> Iterator[Opinion]:
    """Yield what a judgement says of answers by themselves; nothing if it only compares them.

    A preference that calls both answers bad is two thumbs down. The value of a custom metric that
    trains counts as a thumb of the metric's weight.
    """
    for answer in _both_bad(judgement):
        yield _opinion(judgement, THUMBS, answer, -1.0)
    value = _value(judgement, config, metrics)
    if value is not None:
        yield _opinion(judgement, judgement.metric_name, judged_answer(judgement), value)


def _both_bad(judgement: Judgement) -> list[Key]:
    """Return the answers of a preference that called both of them bad."""
    ordering = ordering_of(judgement.metric_name, judgement.value, judged_answer(judgement))
    return ordering.answers if ordering and ordering.both_bad else []


def _opinion(judgement: Judgement, metric: str, answer: Key, value: float) -> Opinion:
    return Opinion(judgement.id, rater_of(judgement), metric, answer, value)


def _value(
    judgement: Judgement, config: PairsConfig, metrics: Mapping[str, MetricConfig]
) -> float | None:
    """Return the opinion's value; None for a judgement of another kind."""
    match judgement.metric_name:
        case "thumbs":
            return 1.0 if judgement.value else -1.0
        case "rating":
            return config.value_of_rating(int(judgement.value))
        case name:
            return _of_metric(metrics[name], judgement.value) if name in metrics else None


def _of_metric(metric: MetricConfig, value: Any) -> float:
    """Return the weight of the metric's verdict, negative for a bad one; 0 if it says neither."""
    verdict = verdict_of(metric, value)
    return 0.0 if verdict is None else metric.trains if verdict else -metric.trains
