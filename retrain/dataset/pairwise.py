"""Convert all kinds of judgements to pairwise ones: answer A is better than answer B. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

from feedback.metrics.ordering import ordering_of
from feedback.reading.judgements import Judgement
from retrain.dataset.filters import Filter
from retrain.dataset.judged import (
    ConversationView,
    Key,
    Rater,
    Side,
    judged_answer,
    of_metric,
    rater_of,
)
from retrain.dataset.votes import TextVotes
from retrain.trainer.examples.rows import Signal


@dataclass(frozen=True, slots=True)
class PairwiseJudgement:
    """One answer is better than another.

    All pairwise judgements with the same `origin` (one judgement of a rater) have weight 1 in
    total, or their `weight`, if that is less. `judgements` are the ids of the judgements that say
    so.
    """

    better: Side
    worse: Side
    signal: Signal
    origin: str
    judgements: frozenset[str]
    weight: float = 1.0

    def with_share(self, share: float) -> "PairwiseJudgement":
        """Return a copy with a share of the weight."""
        return replace(self, weight=self.weight * share)


def pairwise_judgements(
    view: ConversationView, accepted: Sequence[Judgement], votes: Sequence[TextVotes]
) -> list[PairwiseJudgement]:
    """Return all pairwise judgements of a conversation; unusable ones are counted in `view`.

    Args:
        view: The conversation.
        accepted: The judgements that count, oldest first.
        votes: The votes on each text (`count_votes`).

    """
    return [
        *_comparisons(view, "preference", accepted),
        *_comparisons(view, "ranking", accepted),
        *_demonstrations(view, accepted),
        *_thumbs(view, votes),
        *_ratings(view, accepted),
    ]


def latest_comparisons(view: ConversationView, accepted: Sequence[Judgement]) -> list[Judgement]:
    """Return the judgements without replaced comparisons.

    Of each rater's preferences, and of each rater's rankings, the last on each set of answers
    counts, whichever of the answers it refers to.
    """
    last: dict[tuple[str, Rater, frozenset[Key]], Judgement] = {}
    for judgement in accepted:
        if judgement.metric_name not in COMPARISONS:
            continue
        subject = (judgement.metric_name, rater_of(judgement), _compared(judgement))
        if earlier := last.get(subject):
            view.leave_out(Filter.SUPERSEDED, [earlier.id])
        last[subject] = judgement
    kept = {judgement.id for judgement in last.values()}
    return [one for one in accepted if one.metric_name not in COMPARISONS or one.id in kept]


COMPARISONS: tuple[Signal, ...] = ("preference", "ranking")
"""Metrics that compare several answers."""


def _compared(judgement: Judgement) -> frozenset[Key]:
    ordering = ordering_of(judgement.metric_name, judgement.value, judged_answer(judgement))
    return frozenset(ordering.answers if ordering else ())


def _comparisons(
    view: ConversationView, metric: Signal, judgements: Sequence[Judgement]
) -> Iterator[PairwiseJudgement]:
    """Yield all ordered pairs of each preference or ranking.

    Equally good answers make no pair. Of two bad ones neither is better: they are counted with the
    votes.
    """
    for judgement in of_metric(metric, judgements):
        ordering = ordering_of(metric, judgement.value, judged_answer(judgement))
        if ordering is None or ordering.both_bad:
            continue
        named = frozenset({judgement.id})
        places = [
            (place, side)
            for place, group in enumerate(ordering.groups)
            for key in group
            if (side := view.side(key, judgement.id))
        ]
        for (place, better), (other, worse) in combinations(places, 2):
            if place == other:
                view.leave_out(Filter.EQUAL, named)
            else:
                yield PairwiseJudgement(better, worse, metric, judgement.id, named)


def _demonstrations(
    view: ConversationView, judgements: Sequence[Judgement]
) -> Iterator[PairwiseJudgement]:
    """Yield one per demonstration: the rater's text is better than the answer."""
    for judgement in of_metric("demonstration", judgements):
        named = frozenset({judgement.id})
        if judgement.value is None:
            view.leave_out(Filter.TEXTS_REMOVED, named)
        elif not str(judgement.value).strip():
            view.leave_out(Filter.EMPTY, named)
        elif original := view.side(judged_answer(judgement), judgement.id):
            shown = view.demonstration(judgement, str(judgement.value))
            yield PairwiseJudgement(shown, original, "demonstration", judgement.id, named)


def _thumbs(view: ConversationView, votes: Sequence[TextVotes]) -> Iterator[PairwiseJudgement]:
    """Yield pairs of a text with more thumbs up and a text with more thumbs down."""
    ordered = sorted(votes, key=lambda vote: vote.order)
    ups = [vote for vote in ordered if vote.net_thumbs > 0 and not vote.side.truncated]
    downs = [vote for vote in ordered if vote.net_thumbs < 0]
    paired = zip(ups, downs, strict=False)
    for up, down in islice(paired, view.config.thumb_pairs_per_conversation):
        yield PairwiseJudgement(
            better=up.side,
            worse=down.side,
            signal=_weaker(up, down),
            origin=f"thumbs:{up.side.key}:{down.side.key}",
            judgements=up.without_ratings | down.without_ratings,
            weight=min(1.0, up.net_thumbs, -down.net_thumbs),
        )


def _weaker(up: TextVotes, down: TextVotes) -> Signal:
    """Return `metric` if the votes on one of the texts are those of metrics only."""
    return "thumbs" if up.signal == down.signal == "thumbs" else "metric"


def _ratings(
    view: ConversationView, judgements: Sequence[Judgement]
) -> Iterator[PairwiseJudgement]:
    """Yield pairs of answers whose ratings by the same rater differ by at least the margin.

    Ratings of different raters are not compared, since their scales differ.
    """
    by_rater: dict[Rater, list[tuple[int, Side, str]]] = {}
    for judgement in of_metric("rating", judgements):
        if side := view.usable(judged_answer(judgement)):
            rated = (int(judgement.value), side, judgement.id)
            by_rater.setdefault(rater_of(judgement), []).append(rated)
    for rated_by_one in by_rater.values():
        yield from _apart(view.config.rating_margin, rated_by_one)


def _apart(margin: int, rated: Sequence[tuple[int, Side, str]]) -> Iterator[PairwiseJudgement]:
    """Yield the pairs of one rater's ratings; like one ranking, they have weight 1 in total."""
    ordered = sorted(rated, key=lambda entry: (-entry[0], entry[1].key))
    origin = f"ratings:{min(judgement for _, _, judgement in rated)}"
    for (high, better, first), (low, worse, second) in combinations(ordered, 2):
        if high - low >= margin:
            named = frozenset({first, second})
            yield PairwiseJudgement(better, worse, "ranking", origin, named)
