"""One judged conversation as the dataset sees it: usable answers, and what is left out. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from feedback.answer_parts import AnswerParts
from feedback.config import MetricConfig
from feedback.reading.judgements import JudgedConversation, Judgement, LoggedAnswer
from feedback.records import canonical
from retrain.config import PairsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.held_out import held_out
from retrain.dataset.turns import served_turn
from retrain.trainer.examples.rows import CompletionRow, ServedTurn

Key = tuple[str, int]
"""An answer: interaction id and choice."""
Rater = tuple[str, bool, str]
"""Source, whether the rater is anonymous, and the rater's name."""


@dataclass(frozen=True, slots=True)
class Side:
    """One answer of a pair, or the answer of a label.

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

    @property
    def completion(self) -> CompletionRow:
        """The answer as a part of a row: its sampled ids, or the text of a demonstration."""
        if self.token_ids is None:
            return CompletionRow(text=self.text)
        return CompletionRow(token_ids=list(self.token_ids))


@dataclass(slots=True)
class ConversationView:
    """Decides which judgements count and which answers may be trained on.

    `filtered` counts whatever is left out; `reasons` has the first reason for each judgement that
    was left out, at least for one of its answers. `metrics` are the custom metrics that train.
    """

    conversation: JudgedConversation
    config: PairsConfig
    base_fingerprint: str
    filtered: Counter[str]
    metrics: Mapping[str, MetricConfig] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    answers: Mapping[Key, LoggedAnswer] = field(init=False)

    def __post_init__(self) -> None:
        self.answers = {
            (answer.interaction_id, answer.choice): answer for answer in self.conversation.answers
        }

    def leave_out(self, reason: Filter, judgements: Iterable[str], count: int = 1) -> None:
        """Count something that is left out, and remember why for its judgements (their ids)."""
        if not count:
            return
        self.filtered[reason] += count
        for judgement in judgements:
            self.reasons.setdefault(judgement, reason)

    def accepted(self) -> list[Judgement]:
        """Return the judgements that count, oldest first."""
        said = sorted(self.conversation.judgements, key=lambda one: (one.received_at, one.id))
        return [judgement for judgement in said if self._accepts(judgement)]

    def _accepts(self, judgement: Judgement) -> bool:
        reason = None
        if judgement.source not in self.config.sources:
            reason = Filter.SOURCE
        elif held_out(self.conversation.tenant, judgement.rater, self.config.held_out_share):
            reason = Filter.HELD_OUT
        if reason is not None:
            self.leave_out(reason, [judgement.id])
        return reason is None

    def side(self, key: Key, judgement: str) -> Side | None:
        """Return the answer, or count why it is unusable (for the judgement) and return None."""
        reason = self._flaw(self.answers.get(key))
        if reason is not None:
            self.leave_out(reason, [judgement])
        return self.usable(key)

    def usable(self, key: Key) -> Side | None:
        """Return the answer, or None if it is unusable."""
        answer = self.answers.get(key)
        return None if answer is None or self._flaw(answer) is not None else side_of(answer)

    def demonstration(self, judgement: Judgement, text: str) -> Side:
        """Return a demonstration as a side of a pair."""
        key = judged_answer(judgement)
        asked = {"messages": self.conversation.messages}
        request = self.conversation.requests.get(judgement.interaction_id, asked)
        turn = served_turn(request, self.answers[key])
        return Side(key, text, None, None, parts=AnswerParts(text), turn=turn)

    def _flaw(self, answer: LoggedAnswer | None) -> Filter | None:
        if answer is None:
            return Filter.MISSING
        if held_out(self.conversation.tenant, answer.requester, self.config.held_out_share):
            return Filter.HELD_OUT
        return flaw_of(answer, self.base_fingerprint)


def side_of(answer: LoggedAnswer) -> Side:
    """Return a logged answer as a side of a pair."""
    return Side(
        key=(answer.interaction_id, answer.choice),
        text=answer.text,
        token_ids=answer.token_ids,
        prompt_token_ids=answer.prompt_token_ids,
        truncated=answer.finish_reason == "length",
        parts=answer.parts,
    )


def flaw_of(answer: LoggedAnswer, base_fingerprint: str) -> Filter | None:
    """Return why the text and token ids of an answer cannot be used, or None if they can."""
    if answer.texts_removed:
        return Filter.TEXTS_REMOVED
    if answer.status != "complete":
        return Filter.INCOMPLETE
    if (
        answer.base_fingerprint != base_fingerprint
        or not answer.token_ids
        or not answer.prompt_token_ids
    ):
        return Filter.FOREIGN
    return None if answer.text.strip() or answer.parts.calls else Filter.EMPTY


def of_metric(metric: str, judgements: Sequence[Judgement]) -> list[Judgement]:
    """Return the judgements by one metric."""
    return [judgement for judgement in judgements if judgement.metric_name == metric]


def judged_answer(judgement: Judgement) -> Key:
    """Return the answer that a judgement refers to."""
    return (judgement.interaction_id, judgement.choice)


def rater_of(judgement: Judgement) -> Rater:
    """Return the rater's identity.

    It includes the source and whether the rater is anonymous, so that a user named `anonymous:…` is
    not taken for an anonymous one, nor a program without a rater's name for the asking user.
    """
    return (judgement.source, judgement.anonymous, judgement.rater)
