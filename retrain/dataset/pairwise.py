"""Convert all kinds of judgements to pairwise ones: answer A is better than answer B. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import combinations

from feedback.answer_parts import AnswerParts
from feedback.metrics.ordering import ordering_of
from feedback.reading.judgements import JudgedConversation, Judgement, LoggedAnswer, mentioned
from feedback.records import canonical
from retrain.config import PairsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.held_out import held_out
from retrain.dataset.turns import served_turn
from retrain.trainer.examples.rows import ServedTurn, Signal

Key = tuple[str, int]
"""An answer: interaction id and choice."""
Rater = tuple[str, bool, str]
"""Source, whether the rater is anonymous, and the rater's name."""


@dataclass(frozen=True, slots=True)
class Side:
    """One answer of a pair.

    A demonstration has neither token ids nor a prompt; its `turn` tells how the answer that it
    replaces was served. `parts` are the answer's text and tool calls.
    """

    key: Key
    text: str
    token_ids: tuple[int, ...] | None
    prompt_token_ids: tuple[int, ...] | None
    truncated: bool = False
    parts: AnswerParts = field(default_factory=AnswerParts)
    turn: ServedTurn | None = None

    @property
    def content(self) -> str:
        """A string that is equal for answers with the same text and the same tool calls."""
        if not self.parts.calls:
            return self.parts.text
        calls = [[name, arguments.decode()] for name, arguments in self.parts.key[1]]
        return f"\0{canonical([self.parts.text, calls]).decode()}"


@dataclass(frozen=True, slots=True)
class PairwiseJudgement:
    """One answer is better than another.

    All pairwise judgements with the same `origin` (one judgement of a rater) have weight 1 in
    total.
    """

    better: Side
    worse: Side
    signal: Signal
    origin: str
    weight: float = 1.0

    def with_weight(self, weight: float) -> "PairwiseJudgement":
        """Return a copy with another weight."""
        return replace(self, weight=weight)


def pairwise_judgements(
    conversation: JudgedConversation,
    config: PairsConfig,
    base_fingerprint: str,
    filtered: Counter[str],
) -> list[PairwiseJudgement]:
    """Return all pairwise judgements of a conversation; unusable ones are counted in `filtered`."""
    answers = {(answer.interaction_id, answer.choice): answer for answer in conversation.answers}
    context = _Context(conversation, config, base_fingerprint, answers, filtered)
    judgements = sorted(
        conversation.judgements, key=lambda judgement: (judgement.received_at, judgement.id)
    )
    accepted = [judgement for judgement in judgements if context.accepts(judgement)]
    return [
        *_preferences(context, accepted),
        *_rankings(context, accepted),
        *_demonstrations(context, accepted),
        *_thumbs(context, accepted),
        *_ratings(context, accepted),
    ]


@dataclass(slots=True)
class _Context:
    """Decides which judgements count and which answers may be part of a pair."""

    conversation: JudgedConversation
    config: PairsConfig
    base_fingerprint: str
    answers: Mapping[Key, LoggedAnswer]
    filtered: Counter[str]

    @property
    def tenant(self) -> str:
        """The conversation's tenant."""
        return self.conversation.tenant

    def accepts(self, judgement: Judgement) -> bool:
        reason = None
        if judgement.source not in self.config.sources:
            reason = Filter.SOURCE
        elif held_out(self.tenant, judgement.rater, self.config.held_out_share):
            reason = Filter.HELD_OUT
        if reason is not None:
            self.filtered[reason] += 1
        return reason is None

    def side(self, key: Key) -> Side | None:
        """Return the answer as a side of a pair; if it is unusable, count it and return None."""
        answer = self.answers.get(key)
        reason = Filter.MISSING if answer is None else self._flaw(answer)
        if answer is None or reason is not None:
            self.filtered[str(reason)] += 1
            return None
        return Side(
            key=key,
            text=answer.text,
            token_ids=answer.token_ids,
            prompt_token_ids=answer.prompt_token_ids,
            truncated=answer.finish_reason == "length",
            parts=answer.parts,
        )

    def demonstration(self, judgement: Judgement, text: str) -> Side:
        """Return a demonstration as a side of a pair."""
        key = _judged(judgement)
        asked = {"messages": self.conversation.messages}
        request = self.conversation.requests.get(judgement.interaction_id, asked)
        turn = served_turn(request, self.answers[key])
        return Side(key, text, None, None, parts=AnswerParts(text), turn=turn)

    def _flaw(self, answer: LoggedAnswer) -> Filter | None:
        if held_out(self.tenant, answer.requester, self.config.held_out_share):
            return Filter.HELD_OUT
        if answer.texts_removed:
            return Filter.TEXTS_REMOVED
        if answer.status != "complete":
            return Filter.INCOMPLETE
        if (
            answer.base_fingerprint != self.base_fingerprint
            or not answer.token_ids
            or not answer.prompt_token_ids
        ):
            return Filter.FOREIGN
        return None if answer.text.strip() or answer.parts.calls else Filter.EMPTY


def _of(metric: str, judgements: Sequence[Judgement]) -> Iterator[Judgement]:
    return (judgement for judgement in judgements if judgement.metric_name == metric)


def _judged(judgement: Judgement) -> Key:
    return (judgement.interaction_id, judgement.choice)


def _rater(judgement: Judgement) -> Rater:
    """Return the rater's identity.

    It includes the source and whether the rater is anonymous, so that a user named `anonymous:…` is
    not taken for an anonymous one, nor a program without a rater's name for the asking user.
    """
    return (judgement.source, judgement.anonymous, judgement.rater)


def _last_judgements(
    context: _Context, metric: str, judgements: Sequence[Judgement]
) -> Iterable[Judgement]:
    """Return each rater's last judgement on each set of answers, whichever of them it refers to."""
    last: dict[tuple[Rater, frozenset[Key]], Judgement] = {}
    for judgement in _of(metric, judgements):
        subject = (
            _rater(judgement),
            frozenset((_judged(judgement), *mentioned(metric, judgement.value))),
        )
        context.filtered[Filter.SUPERSEDED] += subject in last
        last[subject] = judgement
    return last.values()


def _preferences(context: _Context, judgements: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """Yield one pairwise judgement per preference; none where both answers are equally good."""
    for judgement in _last_judgements(context, "preference", judgements):
        for one, other in _ordered(judgement):
            better = context.side(one)
            worse = better and context.side(other)
            if better and worse:
                yield PairwiseJudgement(better, worse, "preference", judgement.id)


def _rankings(context: _Context, judgements: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """Yield all ordered pairs of each ranking; equally good answers make none."""
    for judgement in _last_judgements(context, "ranking", judgements):
        sides = {key: context.side(key) for key in mentioned("ranking", judgement.value)}
        for one, other in _ordered(judgement):
            better, worse = sides[one], sides[other]
            if better and worse:
                yield PairwiseJudgement(better, worse, "ranking", judgement.id)


def _ordered(judgement: Judgement) -> Iterator[tuple[Key, Key]]:
    """Yield the better and the worse answer of each pair that a judgement orders."""
    ordering = ordering_of(judgement.metric_name, judgement.value, _judged(judgement))
    return iter(()) if ordering is None else ordering.pairs()


def _demonstrations(
    context: _Context, judgements: Sequence[Judgement]
) -> Iterator[PairwiseJudgement]:
    """Yield one per demonstration: the rater's text is better than the answer."""
    for judgement in _of("demonstration", judgements):
        if judgement.value is None:
            context.filtered[Filter.TEXTS_REMOVED] += 1
        elif not str(judgement.value).strip():
            context.filtered[Filter.EMPTY] += 1
        elif original := context.side(_judged(judgement)):
            shown = context.demonstration(judgement, str(judgement.value))
            yield PairwiseJudgement(shown, original, "demonstration", judgement.id)


@dataclass(slots=True)
class _Votes:
    """The thumbs of all raters on one text; the last one of each rater counts."""

    side: Side
    by_rater: dict[Rater, bool] = field(default_factory=dict)

    @property
    def net(self) -> int:
        return sum(1 if up else -1 for up in self.by_rater.values())

    @property
    def order(self) -> tuple[int, bytes]:
        """Sort key: the largest majority first, equal ones in pseudo-random order."""
        text = self.side.content.encode("utf-8", "surrogatepass")
        return -abs(self.net), blake2b(text, digest_size=8).digest()


def _thumbs(context: _Context, judgements: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """Yield pairs of a text with more thumbs up and a text with more thumbs down."""
    votes = _count_votes(context, judgements)
    context.filtered[Filter.TIE] += sum(vote.net == 0 for vote in votes)
    ups = sorted((vote for vote in votes if vote.net > 0), key=lambda vote: vote.order)
    downs = sorted((vote for vote in votes if vote.net < 0), key=lambda vote: vote.order)
    cut_off = [vote for vote in ups if vote.side.truncated]
    whole = [vote for vote in ups if not vote.side.truncated]
    context.filtered[Filter.TRUNCATED] += len(cut_off)
    paired = list(zip(whole, downs, strict=False))[: context.config.thumb_pairs_per_conversation]
    context.filtered[Filter.UNPAIRED] += len(whole) + len(downs) - 2 * len(paired)
    for up, down in paired:
        origin = f"thumbs:{up.side.key}:{down.side.key}"
        yield PairwiseJudgement(up.side, down.side, "thumbs", origin)


def _count_votes(context: _Context, judgements: Sequence[Judgement]) -> list[_Votes]:
    votes: dict[str, _Votes] = {}
    for judgement in _of("thumbs", judgements):
        side = context.side(_judged(judgement))
        if side is None:
            continue
        vote = votes.setdefault(side.content, _Votes(side))
        if (side.truncated, side.key) < (vote.side.truncated, vote.side.key):
            vote.side = side
        context.filtered[Filter.SUPERSEDED] += _rater(judgement) in vote.by_rater
        vote.by_rater[_rater(judgement)] = bool(judgement.value)
    return list(votes.values())


def _ratings(context: _Context, judgements: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """Yield pairs of answers whose ratings by the same rater differ by at least the margin.

    Ratings of different raters are not compared, since their scales differ.
    """
    by_rater: dict[Rater, list[tuple[int, Side, Judgement]]] = {}
    for judgement in _of("rating", judgements):
        if side := context.side(_judged(judgement)):
            by_rater.setdefault(_rater(judgement), []).append(
                (int(judgement.value), side, judgement)
            )
    for rated in by_rater.values():
        yield from _apart(context, rated)


def _apart(
    context: _Context, rated: Sequence[tuple[int, Side, Judgement]]
) -> Iterator[PairwiseJudgement]:
    """Yield the pairs of one rater's ratings; like one ranking, they have weight 1 in total."""
    ordered = sorted(rated, key=lambda entry: (-entry[0], entry[1].key))
    used: set[Key] = set()
    origin = f"ratings:{min(judgement.id for _, _, judgement in rated)}"
    for (high, better, _), (low, worse, _) in combinations(ordered, 2):
        if high - low >= context.config.rating_margin:
            used |= {better.key, worse.key}
            yield PairwiseJudgement(better, worse, "ranking", origin)
    context.filtered[Filter.UNPAIRED] += len({side.key for _, side, _ in rated} - used)
