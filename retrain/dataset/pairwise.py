"""What was said about one conversation, as opinions: this text is better than that one. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import combinations

from feedback.answer_parts import AnswerParts
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
"""Source, whether nobody is named, and the name."""


@dataclass(frozen=True, slots=True)
class Side:
    """One answer of a pair; a demonstration has neither token ids nor a prompt of its own.

    `parts` are what the answer says and calls, `turn` how a demonstration's original was served.
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
        """Equal for answers that say the same and call the same tools with the same arguments."""
        if not self.parts.calls:
            return self.parts.text
        calls = [[name, arguments.decode()] for name, arguments in self.parts.key[1]]
        return f"\0{canonical([self.parts.text, calls]).decode()}"


@dataclass(frozen=True, slots=True)
class PairwiseJudgement:
    """`better` is better than `worse`. Opinions of one `origin` (a saying) weigh 1 together."""

    better: Side
    worse: Side
    signal: Signal
    origin: str
    weight: float = 1.0

    def weighing(self, weight: float) -> "PairwiseJudgement":
        """The same opinion with another weight."""
        return replace(self, weight=weight)


def opinions_of(
    conversation: JudgedConversation,
    config: PairsConfig,
    base_fingerprint: str,
    filtered: Counter[str],
) -> list[PairwiseJudgement]:
    """Everything that compares two answers; what cannot be used is counted in `filtered`."""
    answers = {(answer.interaction_id, answer.choice): answer for answer in conversation.answers}
    desk = _Context(conversation, config, base_fingerprint, answers, filtered)
    judgements = sorted(conversation.judgements, key=lambda word: (word.received_at, word.id))
    heard = [word for word in judgements if desk.hears(word)]
    return [
        *_preferences(desk, heard),
        *_rankings(desk, heard),
        *_demonstrations(desk, heard),
        *_thumbs(desk, heard),
        *_ratings(desk, heard),
    ]


@dataclass(slots=True)
class _Context:
    """Decides which judgements are heard and which answers may stand in a pair."""

    conversation: JudgedConversation
    config: PairsConfig
    base_fingerprint: str
    answers: Mapping[Key, LoggedAnswer]
    filtered: Counter[str]

    @property
    def tenant(self) -> str:
        """Whose conversation it is."""
        return self.conversation.tenant

    def hears(self, word: Judgement) -> bool:
        reason = None
        if word.source not in self.config.sources:
            reason = Filter.SOURCE
        elif held_out(self.tenant, word.rater, self.config.held_out_share):
            reason = Filter.HELD_OUT
        if reason is not None:
            self.filtered[reason] += 1
        return reason is None

    def side(self, key: Key) -> Side | None:
        """The answer as a side of a pair; None, and counted, where it may not be one."""
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

    def demonstration(self, word: Judgement, text: str) -> Side:
        """The better text as a side; how its original was served goes along."""
        key = _judged(word)
        asked = {"messages": self.conversation.messages}
        request = self.conversation.requests.get(word.interaction_id, asked)
        turn = served_turn(request, self.answers[key])
        return Side(key, text, None, None, parts=AnswerParts(text), turn=turn)

    def _flaw(self, answer: LoggedAnswer) -> Filter | None:
        if held_out(self.tenant, answer.asker, self.config.held_out_share):
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


def _of(metric: str, words: Sequence[Judgement]) -> Iterator[Judgement]:
    return (word for word in words if word.metric_name == metric)


def _judged(word: Judgement) -> Key:
    return (word.interaction_id, word.choice)


def _rater(word: Judgement) -> Rater:
    """Who spoke. A user who calls himself `anonymous:…` is not the one without a name.

    Nor is a program that names no rater the user whose request it judged.
    """
    return (word.source, word.anonymous, word.rater)


def _last_words(desk: _Context, metric: str, words: Sequence[Judgement]) -> Iterable[Judgement]:
    """A rater's last word on a set of answers counts, whichever of them it was said of."""
    last: dict[tuple[Rater, frozenset[Key]], Judgement] = {}
    for word in _of(metric, words):
        subject = (_rater(word), frozenset((_judged(word), *mentioned(metric, word.value))))
        desk.filtered[Filter.SUPERSEDED] += subject in last
        last[subject] = word
    return last.values()


def _preferences(desk: _Context, words: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """One pair each."""
    for word in _last_words(desk, "preference", words):
        better = desk.side(_judged(word))
        worse = better and desk.side(mentioned("preference", word.value)[0])
        if better and worse:
            yield PairwiseJudgement(better, worse, "preference", word.id)


def _rankings(desk: _Context, words: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """All ordered pairs of each ranking."""
    for word in _last_words(desk, "ranking", words):
        sides = [desk.side(key) for key in mentioned("ranking", word.value)]
        for better, worse in combinations([side for side in sides if side], 2):
            yield PairwiseJudgement(better, worse, "ranking", word.id)


def _demonstrations(desk: _Context, words: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """What the rater would have answered is better than what was answered."""
    for word in _of("demonstration", words):
        if word.value is None:
            desk.filtered[Filter.TEXTS_REMOVED] += 1
        elif not str(word.value).strip():
            desk.filtered[Filter.EMPTY] += 1
        elif original := desk.side(_judged(word)):
            shown = desk.demonstration(word, str(word.value))
            yield PairwiseJudgement(shown, original, "demonstration", word.id)


@dataclass(slots=True)
class _Votes:
    """The thumbs of all raters on one text: one vote a rater, the last one."""

    side: Side
    by_rater: dict[Rater, bool] = field(default_factory=dict)

    @property
    def net(self) -> int:
        return sum(1 if up else -1 for up in self.by_rater.values())

    @property
    def order(self) -> tuple[int, bytes]:
        """The clearest first; equally clear ones by hash, as good as by chance."""
        text = self.side.content.encode("utf-8", "surrogatepass")
        return -abs(self.net), blake2b(text, digest_size=8).digest()


def _thumbs(desk: _Context, words: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """Texts with more thumbs up against texts with more thumbs down, over all raters."""
    votes = _count_votes(desk, words)
    desk.filtered[Filter.TIE] += sum(vote.net == 0 for vote in votes)
    ups = sorted((vote for vote in votes if vote.net > 0), key=lambda vote: vote.order)
    downs = sorted((vote for vote in votes if vote.net < 0), key=lambda vote: vote.order)
    cut_off = [vote for vote in ups if vote.side.truncated]
    whole = [vote for vote in ups if not vote.side.truncated]
    desk.filtered[Filter.TRUNCATED] += len(cut_off)
    paired = list(zip(whole, downs, strict=False))[: desk.config.thumb_pairs_per_conversation]
    desk.filtered[Filter.UNPAIRED] += len(whole) + len(downs) - 2 * len(paired)
    for up, down in paired:
        origin = f"thumbs:{up.side.key}:{down.side.key}"
        yield PairwiseJudgement(up.side, down.side, "thumbs", origin)


def _count_votes(desk: _Context, words: Sequence[Judgement]) -> list[_Votes]:
    votes: dict[str, _Votes] = {}
    for word in _of("thumbs", words):
        side = desk.side(_judged(word))
        if side is None:
            continue
        vote = votes.setdefault(side.content, _Votes(side))
        if (side.truncated, side.key) < (vote.side.truncated, vote.side.key):
            vote.side = side
        desk.filtered[Filter.SUPERSEDED] += _rater(word) in vote.by_rater
        vote.by_rater[_rater(word)] = bool(word.value)
    return list(votes.values())


def _ratings(desk: _Context, words: Sequence[Judgement]) -> Iterator[PairwiseJudgement]:
    """Two ratings of one rater that lie far apart; a rater's scale is nobody else's."""
    by_rater: dict[Rater, list[tuple[int, Side, Judgement]]] = {}
    for word in _of("rating", words):
        if side := desk.side(_judged(word)):
            by_rater.setdefault(_rater(word), []).append((int(word.value), side, word))
    for rated in by_rater.values():
        yield from _apart(desk, rated)


def _apart(
    desk: _Context, rated: Sequence[tuple[int, Side, Judgement]]
) -> Iterator[PairwiseJudgement]:
    """One rater's ratings are one ranking with gaps: it weighs 1, whatever its length."""
    ordered = sorted(rated, key=lambda entry: (-entry[0], entry[1].key))
    used: set[Key] = set()
    origin = f"ratings:{min(word.id for _, _, word in rated)}"
    for (high, better, _), (low, worse, _) in combinations(ordered, 2):
        if high - low >= desk.config.rating_margin:
            used |= {better.key, worse.key}
            yield PairwiseJudgement(better, worse, "ranking", origin)
    desk.filtered[Filter.UNPAIRED] += len({side.key for _, side, _ in rated} - used)
