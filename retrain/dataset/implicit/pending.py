"""Labels whose next message may still have to be read, and what becomes of them. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from feedback.answer_parts import AnswerParts
from feedback.reading.follow_up_log import FollowedConversation
from feedback.reading.judgements import LoggedAnswer
from retrain.config import SignalsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.ids import identifier
from retrain.dataset.implicit.signs import Sign
from retrain.dataset.judged import Key, Side
from retrain.dataset.labels import Label

_ROUNDING = 1e-9


class PendingLabel(BaseModel):
    """One answer with the signs of its user.

    `repeated` is -1 if the question was asked again, 1 if it was the repeated question's answer
    from which the conversation went on, else 0. `next_message` is what the user wrote next, if it
    is to be read, in the request `read_in`.
    """

    model_config = ConfigDict(frozen=True)

    tenant: str
    conversation: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    interaction_id: str
    choice: int
    received_at: AwareDatetime
    text: str
    message: dict[str, Any] | None
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    truncated: bool
    repeated: float = 0.0
    next_message: str | None = None
    read_in: str | None = None

    @classmethod
    def of(
        cls, followed: FollowedConversation, answer: LoggedAnswer, signs: Iterable[Sign]
    ) -> Self:
        """Collect the signs of one answer."""
        signs = list(signs)
        message = next((sign for sign in signs if sign.value is None), None)
        return cls(
            tenant=followed.tenant,
            conversation=followed.tracked.conversation,
            messages=followed.messages,
            tools=followed.tools,
            interaction_id=answer.interaction_id,
            choice=answer.choice,
            received_at=answer.received_at,
            text=answer.text,
            message=None if answer.message is None else dict(answer.message),
            prompt_token_ids=answer.prompt_token_ids or (),
            token_ids=answer.token_ids or (),
            truncated=answer.finish_reason == "length",
            repeated=max(-1.0, min(1.0, sum(sign.value or 0.0 for sign in signs))),
            next_message=message and message.message,
            read_in=message and message.by,
        )

    @property
    def key(self) -> Key:
        """The answer's interaction id and choice."""
        return (self.interaction_id, self.choice)

    @property
    def parts(self) -> AnswerParts:
        """The answer's text, tool calls and other parts."""
        return AnswerParts(self.text) if self.message is None else AnswerParts.of(self.message)


def pending_labels(followed: FollowedConversation, signs: Iterable[Sign]) -> list[PendingLabel]:
    """Group the signs by answer."""
    by_answer: dict[Key, list[Sign]] = {}
    for sign in signs:
        by_answer.setdefault(sign.key, []).append(sign)
    return [PendingLabel.of(followed, found[0].answer, found) for found in by_answer.values()]


def label_of(
    pending: PendingLabel, read: float | None, config: SignalsConfig, left_out: Counter[str]
) -> Label | None:
    """Return the label of an answer; None if nothing speaks for or against it, which is counted.

    Args:
        pending: The answer and its signs.
        read: What the reader said of the next message, from -1 to 1; None if nothing.
        config: The weights of the signs. The sum of both decides, limited to -1 and 1.
        left_out: Counts answers without a label, by `Filter`.

    """
    signs = {"repeated": config.repeated * pending.repeated}
    signs["next_message"] = config.next_message * (read or 0.0)
    net = sum(signs.values())
    reason = _no_label(pending, net, any(signs.values()))
    if reason is not None:
        left_out[reason] += 1
        return None
    return _label(pending, net, signs)


def _no_label(pending: PendingLabel, net: float, said: bool) -> Filter | None:  # noqa: FBT001
    if abs(net) <= _ROUNDING:
        return Filter.TIE if said else Filter.NEUTRAL_MESSAGE
    return Filter.TRUNCATED if net > 0 and pending.truncated else None


def _label(pending: PendingLabel, net: float, signs: Mapping[str, float]) -> Label:
    agreeing = {name: value for name, value in signs.items() if value * net > 0}
    strongest = max(agreeing, key=lambda name: abs(agreeing[name]))
    return Label(
        id=identifier(pending.tenant, pending.interaction_id, str(pending.choice), "implicit"),
        tenant=pending.tenant,
        conversation=pending.conversation,
        messages=pending.messages,
        tools=pending.tools,
        side=_side(pending),
        good=net > 0,
        weight=min(1.0, abs(net)),
        signal="repeated" if strongest == "repeated" else "next_message",
        since=pending.received_at,
    )


def _side(pending: PendingLabel) -> Side:
    return Side(
        key=pending.key,
        text=pending.text,
        token_ids=pending.token_ids,
        prompt_token_ids=pending.prompt_token_ids,
        truncated=pending.truncated,
        parts=pending.parts,
    )
