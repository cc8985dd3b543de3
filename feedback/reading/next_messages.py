"""What a chat request tells of the answer before its last message. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.answer_parts import AnswerParts
from feedback.records import conversation_hash

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NextMessage:
    """A user's message after an answer.

    `conversation` is the hash of the messages that were answered (`Interaction.conversation`),
    `answer` the assistant's turn as the client sent it, `text` what the user wrote.
    """

    conversation: str
    answer: AnswerParts
    text: str


def next_message(tenant: str, request: Mapping[str, Any]) -> NextMessage | None:
    """Return the user's message that follows the last assistant's turn.

    Returns None if there is no such turn, or if something else follows it, such as a tool's result.
    """
    messages = request.get("messages")
    last = _last_answer(messages)
    if last is None or not isinstance(messages, list):
        return None
    after = messages[last + 1 :]
    if not after or any(message.get("role") != "user" for message in after):
        return None
    answered = {**request, "messages": messages[:last]}
    turn = messages[last]
    return NextMessage(
        conversation=conversation_hash(tenant, answered),
        answer=AnswerParts.of({**turn, "content": text_of(turn.get("content"))}),
        text="\n".join(text_of(message.get("content")) for message in after),
    )


def has_answer(request: Mapping[str, Any]) -> bool:
    """Return whether the request contains an assistant's turn."""
    return _last_answer(request.get("messages")) is not None


def text_of(content: object) -> str:
    """Return the text of a message's content, a string or parts; other parts are ignored."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(part for part in parts if isinstance(part, str))


def same_answer(one: AnswerParts, other: AnswerParts) -> bool:
    """Return whether two answers have the same text and calls.

    White space around the text is ignored, since clients often remove it.
    """
    (text, calls), (other_text, other_calls) = one.key, other.key
    return text.strip() == other_text.strip() and calls == other_calls


def _last_answer(messages: object) -> int | None:
    if not isinstance(messages, list) or not all(isinstance(one, Mapping) for one in messages):
        return None
    places = (place for place, message in enumerate(messages) if message.get("role") == "assistant")
    return max(places, default=None)
