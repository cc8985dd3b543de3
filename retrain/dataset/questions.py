"""Held-out prompts: which questions are asked, and which of them count as the same."""

import hashlib
import heapq
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from pydantic import BaseModel, ConfigDict

KEY_BYTES = 16


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
    """The prompts of one evaluation, and what was left out.

    `available` counts the different questions that could have been asked; `dropped_*` count
    requests, not questions. `dropped_unusable` are requests that are no chat.
    """

    model_config = ConfigDict(frozen=True)

    prompts: list[HeldOutPrompt]
    available: int
    dropped_trained: int
    dropped_duplicate: int
    dropped_unusable: int


def normalise(text: str) -> str:
    """Fold case, width and accents' spellings, drop punctuation and collapse white space.

    Two texts that come out equal are the same question asked again.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = (" " if unicodedata.category(mark).startswith("P") else mark for mark in folded)
    return " ".join("".join(kept).split())


def question_key(messages: Sequence[Mapping[str, Any]]) -> str:
    """Hex digest that names a question: the normalised texts of all of the user's turns, in order.

    System prompts and the model's own turns are left out: a question stays the same question when
    the instructions around it change, and sampled turns differ every time.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for message in messages:
        if message.get("role") == "user":
            digest.update(normalise(_text(message.get("content"))).encode() + b"\0")
    return digest.hexdigest()


def select_prompts(
    held_out: Iterable[HeldOutPrompt], trained_keys: Set[str], n: int, seed: int
) -> Selection:
    """Draw `n` different questions that no ancestor was trained on.

    The draw depends on the questions and the seed, not on the order of arrival. Memory holds `n`
    requests and one key a question, however long the log.
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
    """Keeps the `n` questions with the lowest seeded hash, each by its lowest interaction id."""

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


def _text(content: object) -> str:
    """The text of a message, whether plain or in parts; other parts (images) count as nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return " ".join(part for part in parts if isinstance(part, str))
