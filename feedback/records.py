"""An answered request in plain Python, on its way into the log, and the hashes that group requests.

The rows of `models.py` are made from these by the recorder, off the hot path.
"""

import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson


@dataclass(slots=True)
class ChoiceRecord:
    """One of an interaction's answers; `token_ids` as sampled (empty where unknown).

    `message` as in `models.Choice`. `counted` is how many tokens there were, where the ids are not
    kept.
    """

    index: int
    text: str
    token_ids: Sequence[int] = ()
    finish_reason: str | None = None
    message: Mapping[str, Any] | None = None
    counted: int | None = None

    @property
    def tokens(self) -> int:
        """How many tokens were sampled, as far as that is known."""
        return len(self.token_ids) if self.counted is None else self.counted


@dataclass(slots=True)
class InteractionRecord:
    """One request: made when it arrives, completed when it ends. Fields as in `models.Interaction`.

    `status` says `aborted` until somebody says otherwise: what was cut off is never trained on.
    """

    id: str
    received_at: datetime
    tenant: str
    channel: str
    endpoint: str
    mode: str
    role: str
    requested_model: str
    model: str
    version: str | None
    conversation: str
    thread: str
    request: Mapping[str, Any]
    base_fingerprint: str | None = None
    user: str | None = None
    key_id: str | None = None
    parent: str | None = None
    trial: str | None = None
    trial_share: float | None = None
    comparison: str | None = None
    run_id: str | None = None
    prompt_token_ids: Sequence[int] | None = None
    prompt_tokens: int | None = None
    """How many there were, where the ids are not kept; else None."""
    cached_tokens: int = 0
    choices: list[ChoiceRecord] = field(default_factory=list)
    served: Sequence[str] = ()
    """What was sent, a body or events: the choices' messages are read from it as it is written."""
    status: str = "aborted"
    error: str | None = None
    texts_removed_at: datetime | None = None
    first_token_seconds: float | None = None
    duration_seconds: float | None = None

    @property
    def completion_tokens(self) -> int:
        """Sampled tokens over all choices."""
        return sum(choice.tokens for choice in self.choices)

    @property
    def counted_prompt_tokens(self) -> int:
        """Tokens of the prompt, whether their ids are kept or not."""
        return (
            len(self.prompt_token_ids or ()) if self.prompt_tokens is None else self.prompt_tokens
        )

    def remove_texts(self) -> None:
        """Leave only what retention leaves (`feedback.retention`): who, when, how many, how fast.

        For a request whose client did not want it stored.
        """
        self.texts_removed_at = self.received_at
        self.prompt_tokens = self.counted_prompt_tokens
        self.prompt_token_ids = None
        self.request, self.served = {}, ()
        self.choices = [
            ChoiceRecord(one.index, "", finish_reason=one.finish_reason, counted=one.tokens)
            for one in self.choices
        ]


def without_texts(record: InteractionRecord, error: str) -> InteractionRecord:
    """What is kept where the database refuses the whole row: that there was such an interaction.

    A client has seen its id, and what it says of it must not be said of nothing. `aborted`: it is
    never trained on.
    """
    return replace(
        record,
        requested_model="",
        run_id=None,
        request={},
        prompt_token_ids=None,
        cached_tokens=0,
        choices=[],
        status="aborted",
        error=error,
    )


@dataclass(frozen=True, slots=True)
class Subject:
    """An answer that a judgement speaks of. `named`: the client said which choice it means.

    `field` is where the client said it.
    """

    field: str
    id: str
    choice: int
    named: bool


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """One judgement on its way into the log. Fields as in `models.Feedback`.

    `subjects` are the answers it speaks of; they are checked against the log as it is written.
    """

    tenant: str
    id: str
    received_at: datetime
    interaction_id: str
    choice: int
    metric_name: str
    value: Any
    rater: str | None
    source: str
    rationale: str | None
    tags: Mapping[str, str]
    key_id: str | None
    digest: str
    subjects: Sequence[Subject] = ()
    retracts: str | None = None


def conversation_hash(tenant: str, request: Mapping[str, Any]) -> str:
    """Names everything that was asked: messages or prompt, and tools. 32 hex digits.

    Answers to requests of one hash can be compared. The order of keys, absent against null, and a
    text against a list of one text part (or one prompt) make no difference; sampling parameters are
    not looked at.
    """
    return _hash(tenant, _asked(request), request.get("tools"))


def thread_hash(tenant: str, key_id: str | None, request: Mapping[str, Any]) -> str:
    """Names a conversation by its beginning, for users who are not named. 32 hex digits.

    The beginning ends with the first message of the user, so the hash stays as the talk goes on.
    """
    asked = _asked(request)
    if isinstance(asked, list):
        asked = asked[: _first_user_message(asked) + 1]
    return _hash(tenant, key_id, asked)


def pack(ids: Sequence[int]) -> bytes:
    """Token ids as little-endian int32. Raises OverflowError beyond 32 bits."""
    packed = array("i", ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(blob: bytes) -> list[int]:
    """The token ids in a blob of `pack`. Raises ValueError for a length that is none of its."""
    packed = array("i")
    packed.frombytes(blob)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()


def canonical(value: object) -> bytes:
    """JSON with sorted keys, equal for equal values; takes all that Python's JSON parser gives."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a lone surrogate, an integer over 64 bits
        return json.dumps(value, sort_keys=True).encode()


def _hash(*parts: object) -> str:
    return blake2b(canonical(parts), digest_size=16).hexdigest()


def _asked(request: Mapping[str, Any]) -> Any:
    messages = request.get("messages")
    if isinstance(messages, list):
        return [_normal(message) for message in messages]
    match request.get("prompt"):
        case [str(alone)] | [[*alone]]:  # a list of one prompt is that prompt
            return alone
        case prompt:
            return prompt


def _normal(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    normal = {key: value for key, value in message.items() if value is not None}
    match normal.get("content"):
        case [{"type": "text", "text": str(text)}]:
            normal["content"] = text
    return normal


def _first_user_message(messages: Sequence[Any]) -> int:
    for index, message in enumerate(messages):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return index
    return len(messages)
