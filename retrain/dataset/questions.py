"""Held-out prompts: select the questions of an evaluation, and recognise equal ones."""

import hashlib
import heapq
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from pydantic import BaseModel, ConfigDict

KEY_BYTES = 16
"""Length of a question's key before hex encoding."""


class HeldOutPrompt(BaseModel):
    """A request of a held-out user, as it was recorded.

    `text_key` is `question_key` of its messages; `request` is the body of the chat completion.
    """

    model_config = ConfigDict(frozen=True)

    interaction_id: str
    conversation_hash: str
    text_key: str
    request: dict[str, Any]


class Selection(BaseModel):
    """The prompts of one evaluation.

    `available` is the number of distinct questions to choose from. `dropped_*` count requests that
    were left out: an ancestor was trained on the question, the question occurred before, or the
    request is not a chat.
    """

    model_config = ConfigDict(frozen=True)

    prompts: list[HeldOutPrompt]
    available: int
    dropped_trained: int
    dropped_duplicate: int
    dropped_unusable: int


def normalise(text: str) -> str:
    """Apply Unicode NFKC and case folding, drop punctuation and collapse white space.

    Texts with equal results count as the same question.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = (" " if unicodedata.category(mark).startswith("P") else mark for mark in folded)
    return " ".join("".join(kept).split())


def question_key(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the key of a question: a hash of the normalised texts of all user messages, in hex.

    System and assistant messages are left out, because instructions change and sampled answers
    differ each time.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for message in messages:
        if message.get("role") == "user":
            digest.update(normalise(message_text(message.get("content"))).encode() + b"\0")
    return digest.hexdigest()


def select_prompts(
    held_out: Iterable[HeldOutPrompt], trained_keys: Set[str], n: int, seed: int
) -> Selection:
    """Sample `n` distinct questions that no ancestor was trained on.

    The sample depends on the questions and the seed, not on their order. Memory holds `n` requests
    and one key per distinct question.
    """
    drawn = _Draw(n, seed)
    trained = unusable = 0
    for prompt in held_out:
        if not _is_chat(prompt.request):
            unusable += 1
        elif prompt.text_key in trained_keys:
            trained += 1
        else:
            drawn.add(prompt)
    return Selection(
        prompts=drawn.prompts(),
        available=len(drawn.seen),
        dropped_trained=trained,
        dropped_duplicate=drawn.duplicates,
        dropped_unusable=unusable,
    )


class _Draw:
    """Keeps the `n` questions with the lowest seeded hash, each with its lowest interaction id."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self.seen: set[str] = set()
        self.duplicates = 0
        self._kept: dict[str, HeldOutPrompt] = {}
        self._heap: list[tuple[int, str]] = []

    def add(self, prompt: HeldOutPrompt) -> None:
        key = prompt.text_key
        if key not in self.seen:
            self.seen.add(key)
            self._keep(prompt)
            return
        self.duplicates += 1
        kept = self._kept.get(key)
        if kept is not None and prompt.interaction_id < kept.interaction_id:
            self._kept[key] = prompt

    def prompts(self) -> list[HeldOutPrompt]:
        return [self._kept[key] for _, key in sorted(self._heap, reverse=True)]

    def _keep(self, prompt: HeldOutPrompt) -> None:
        self._kept[prompt.text_key] = prompt
        heapq.heappush(self._heap, (-self._rank(prompt.text_key), prompt.text_key))
        if len(self._heap) > self.n:
            _, worst = heapq.heappop(self._heap)
            del self._kept[worst]

    def _rank(self, key: str) -> int:
        digest = hashlib.blake2b(f"{self.seed}:{key}".encode(), digest_size=8)
        return int.from_bytes(digest.digest())


def _is_chat(request: Mapping[str, Any]) -> bool:
    messages = request.get("messages")
    return isinstance(messages, list) and bool(messages)


def message_text(content: object) -> str:
    """Return the text of a message's content, a string or parts; other parts are ignored."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return " ".join(part for part in parts if isinstance(part, str))
