"""What held-out users said, and what was said of answers to them. Never trained on. Pure.

These judgements tell how well a judge agrees with people, and people with each other. Each is one
rater's: nothing is netted or merged, and of a rater who changed their mind on the same answers the
last judgement counts, as in training. Judgements of the same texts have the same `subject`.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import combinations
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from feedback.answer_parts import AnswerParts, ToolCall
from feedback.metrics.ordering import Ordering, ordering_of
from feedback.reading.judgements import Judgement, LoggedAnswer
from retrain.dataset.held_out import held_out
from retrain.dataset.ids import identifier
from retrain.dataset.judged import (
    ConversationView,
    Key,
    Side,
    flaw_of,
    judged_answer,
    rater_of,
    side_of,
)
from retrain.dataset.pairwise import COMPARISONS, latest_comparisons
from retrain.dataset.votes import Opinion, opinions_of
from retrain.trainer.examples.rows import Signal

Winner = Literal["a", "b", "tie"]


class HeldOutCall(BaseModel):
    """A tool call of an answer; the arguments are as the model wrote them."""

    model_config = ConfigDict(frozen=True)

    name: str
    arguments: str


class HeldOutAnswer(BaseModel):
    """An answer as it was served. `version` is None if another model than Pawl's answered."""

    model_config = ConfigDict(frozen=True)

    interaction_id: str
    choice: int
    version: str | None
    text: str
    calls: tuple[HeldOutCall, ...] = ()
    token_ids: list[int]
    truncated: bool = False

    @property
    def parts(self) -> AnswerParts:
        """Text and tool calls."""
        return AnswerParts(self.text, tuple(ToolCall(c.name, c.arguments) for c in self.calls))


class _Judged(BaseModel):
    """What both kinds of rows have.

    Attributes:
        id: The row's id.
        conversation: Hash of the conversation; `messages` and `tools` are its request's.
        prompt_token_ids: The prompt as the model received it.
        rater: Hash of the rater.
        source: `HUMAN`, `LLM_JUDGE` or `CODE`.
        received_at: When the judgement arrived.
        subject: Equal for judgements of the same texts in the same conversation.

    """

    model_config = ConfigDict(frozen=True)

    id: str
    conversation: str
    messages: list[dict[str, Any]] | None
    tools: list[dict[str, Any]] | None = None
    prompt_token_ids: list[int]
    rater: str
    source: str
    received_at: datetime
    signal: Signal
    subject: str


class JudgedPair(_Judged):
    """One rater's comparison of two answers. Which of them is `a` says nothing about the winner."""

    a: HeldOutAnswer
    b: HeldOutAnswer
    winner: Winner


class JudgedLabel(_Judged):
    """One rater's judgement of one answer; `metric` is `thumbs`, `rating` or a custom metric.

    `weight` is 1, or that of the custom metric.
    """

    answer: HeldOutAnswer
    good: bool
    metric: str
    weight: float = 1.0


HeldOutJudgement = JudgedPair | JudgedLabel


def held_out_judgements(view: ConversationView) -> Iterator[HeldOutJudgement]:
    """Yield the judgements by held-out raters, and those of answers to held-out users."""
    aside = ConversationView(
        view.conversation, view.config, view.base_fingerprint, view.filtered.copy(), view.metrics
    )
    said = sorted(view.conversation.judgements, key=lambda one: (one.received_at, one.id))
    of_sources = [one for one in said if one.source in view.config.sources]
    for judgement in latest_comparisons(aside, of_sources):
        if _is_held_out(view, judgement):
            yield from _pairs(view, judgement)
            yield from _labels(view, judgement)


def _is_held_out(view: ConversationView, judgement: Judgement) -> bool:
    """Return whether the rater or the requester of one of the answers is held out."""
    named = (view.answers.get(key) for key in _answers(judgement))
    users = [judgement.rater, *(answer.requester for answer in named if answer)]
    share = view.config.held_out_share
    return any(held_out(view.conversation.tenant, user, share) for user in users)


def _answers(judgement: Judgement) -> list[Key]:
    ordering = _ordering(judgement)
    return ordering.answers if ordering else [judged_answer(judgement)]


def _ordering(judgement: Judgement) -> Ordering | None:
    return ordering_of(judgement.metric_name, judgement.value, judged_answer(judgement))


def _pairs(view: ConversationView, judgement: Judgement) -> Iterator[JudgedPair]:
    """Yield each two answers that a preference or ranking compares."""
    ordering = _ordering(judgement)
    if ordering is None or ordering.both_bad:
        return
    places = [(place, key) for place, keys in enumerate(ordering.groups) for key in keys]
    for (place, first), (other, second) in combinations(places, 2):
        pair = _pair(view, judgement, first, second, tie=place == other)
        if pair is not None:
            yield pair


def _pair(
    view: ConversationView, judgement: Judgement, better: Key, worse: Key, *, tie: bool
) -> JudgedPair | None:
    """Return a row unless an answer is unusable, or the answers cannot be compared."""
    a, b = (_served(view, key) for key in sorted((better, worse)))
    if a is None or b is None:
        return None
    one, other = side_of(a), side_of(b)
    if one.content == other.content or one.prompt_token_ids != other.prompt_token_ids:
        return None
    winner: Winner = "tie" if tie else "a" if one.key == better else "b"
    signal = next(metric for metric in COMPARISONS if metric == judgement.metric_name)
    values = _common(view, judgement, signal, [one, other])
    return JudgedPair(**values, a=_row(a, one), b=_row(b, other), winner=winner)


def _labels(view: ConversationView, judgement: Judgement) -> Iterator[JudgedLabel]:
    """Yield each answer that a judgement calls good or bad."""
    for opinion in opinions_of(judgement, view.config, view.metrics):
        answer = _served(view, opinion.answer)
        if answer is not None and opinion.value:
            yield _label(view, judgement, opinion, answer)


def _label(
    view: ConversationView, judgement: Judgement, opinion: Opinion, answer: LoggedAnswer
) -> JudgedLabel:
    side = side_of(answer)
    return JudgedLabel(
        **_common(view, judgement, opinion.signal, [side]),
        answer=_row(answer, side),
        good=opinion.value > 0,
        metric=opinion.metric,
        weight=abs(opinion.value),
    )


def _served(view: ConversationView, key: Key) -> LoggedAnswer | None:
    answer = view.answers.get(key)
    return answer if answer and flaw_of(answer, view.base_fingerprint) is None else None


def _common(
    view: ConversationView, judgement: Judgement, signal: Signal, sides: list[Side]
) -> dict[str, Any]:
    conversation = view.conversation
    keys = [f"{identifier_}#{choice}" for identifier_, choice in (side.key for side in sides)]
    source, anonymous, name = rater_of(judgement)
    where = (conversation.tenant, conversation.conversation)
    return {
        "id": identifier(*where, judgement.id, *keys),
        "conversation": conversation.conversation,
        "messages": conversation.messages,
        "tools": conversation.tools,
        "prompt_token_ids": list(sides[0].prompt_token_ids or ()),
        "rater": identifier(conversation.tenant, source, str(anonymous), name),
        "source": source,
        "received_at": judgement.received_at,
        "signal": signal,
        "subject": identifier(*where, *sorted(side.content for side in sides)),
    }


def _row(answer: LoggedAnswer, side: Side) -> HeldOutAnswer:
    return HeldOutAnswer(
        interaction_id=answer.interaction_id,
        choice=answer.choice,
        version=answer.version,
        text=side.parts.text,
        calls=tuple(HeldOutCall(name=c.name, arguments=c.arguments) for c in side.parts.calls),
        token_ids=list(side.token_ids or ()),
        truncated=side.truncated,
    )
