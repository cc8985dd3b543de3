"""Records of answered requests and of feedback, and the hashes that group requests.

The recorder converts them to rows of `feedback.models`, off the hot path.
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
    """One of an interaction's answers; `token_ids` are as sampled (empty if unknown).

    `message` is as in `models.Choice`. `counted` is the number of tokens if the ids are not stored.
    """

    index: int
    text: str
    token_ids: Sequence[int] = ()
    finish_reason: str | None = None
    message: Mapping[str, Any] | None = None
    counted: int | None = None

    @property
    def tokens(self) -> int:
        """The number of sampled tokens, as far as known."""
        return len(self.token_ids) if self.counted is None else self.counted


@dataclass(slots=True)
class InteractionRecord:
    """One request, created when it arrives and completed when it ends.

    The fields are those of `models.Interaction`. `status` is `aborted` until it is set, so that an
    answer that was cut off is never trained on.
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
    """The number of prompt tokens if their ids are not stored, else None."""
    cached_tokens: int = 0
    choices: list[ChoiceRecord] = field(default_factory=list)
    served: Sequence[str] = ()
    """The response, a body or events; the choices' messages are extracted when it is written."""
    status: str = "aborted"
    error: str | None = None
    texts_removed_at: datetime | None = None
    first_token_seconds: float | None = None
    duration_seconds: float | None = None

    @property
    def completion_tokens(self) -> int:
        """The number of sampled tokens of all choices."""
        return sum(choice.tokens for choice in self.choices)

    @property
    def counted_prompt_tokens(self) -> int:
        """The number of prompt tokens, whether or not their ids are stored."""
        return (
            len(self.prompt_token_ids or ()) if self.prompt_tokens is None else self.prompt_tokens
        )

    def remove_texts(self) -> None:
        """Remove what retention removes (`feedback.retention`), keeping ids, times and numbers.

        For a request whose client opted out of storage.
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
    """Return the record without texts, to store when the database refuses the whole row.

    A client has seen its id and may send feedback on it. Its status is `aborted`, so that it is
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
    """An answer that a judgement refers to.

    `named` is whether the client gave the choice, and `field` the field that refers to the answer.
    """

    field: str
    id: str
    choice: int
    named: bool


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """One judgement to write. The fields are those of `models.Feedback`.

    `subjects` are the answers it refers to; they are checked against the log when it is written.
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
    """Return a hash (32 hex digits) of the input: messages or prompt, and tools.

    Answers to requests with the same hash can be compared. The hash ignores the order of keys,
    the difference between null and absent, that between a text and a list of one text part (or one
    prompt), and sampling parameters.
    """
    return _hash(tenant, _asked(request), request.get("tools"))


def thread_hash(tenant: str, key_id: str | None, request: Mapping[str, Any]) -> str:
    """Return a hash (32 hex digits) of a conversation's beginning, to group unnamed users.

    The beginning ends with the user's first message, so later turns have the same hash.
    """
    asked = _asked(request)
    if isinstance(asked, list):
        asked = asked[: _first_user_message(asked) + 1]
    return _hash(tenant, key_id, asked)


def pack(ids: Sequence[int]) -> bytes:
    """Pack token ids as little-endian int32. Raises OverflowError beyond 32 bits."""
    packed = array("i", ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(blob: bytes) -> list[int]:
    """Unpack a blob of `pack`. Raises ValueError if its length is not a multiple of 4."""
    packed = array("i")
    packed.frombytes(blob)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()


def canonical(value: object) -> bytes:
    """Return JSON with sorted keys, for any value that Python's JSON parser returns."""
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
