"""The real questions that are varied, and in which way. Pure."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from retrain.dataset.questions import message_text
from retrain.synthetic.prompts import VARIATIONS, Variation

EXAMPLES = 3
"""Questions in a prompt: the varied one, and others as examples of what people ask."""

RecordedQuestion = tuple[str, Mapping[str, Any]]
"""Id of an interaction, and its recorded request."""


@dataclass(frozen=True, slots=True)
class Seed:
    """A variation to write: of the question `texts[0]`, whose request is the pattern."""

    id: str
    variation: Variation
    texts: Sequence[str]
    request: Mapping[str, Any]

    def asking(self, question: str) -> dict[str, Any]:
        """Return the pattern's request with another question in place of its own."""
        messages = [
            {**message, "content": question} if message.get("role") == "user" else message
            for message in self.request["messages"]
        ]
        return {**self.request, "messages": messages}


def draw_seeds(recorded: Iterable[RecordedQuestion], limit: int, seed: int) -> list[Seed]:
    """Draw at most `limit` questions that can be varied, each varied in one way.

    Only a single question of a user without tools can; a system prompt is kept. With fewer than
    `limit` questions each is varied in further ways, until every way was taken.
    """
    askable = {
        interaction: (text, request)
        for interaction, request in _lowest(recorded, limit, seed)
        if (text := question_of(request))
    }
    found = list(askable.items())
    wanted = min(limit, len(found) * len(VARIATIONS))
    return [_seed(found, number) for number in range(wanted)]


def question_of(request: Mapping[str, Any]) -> str:
    """Return the only question of a request that can be varied, else an empty text."""
    messages = request.get("messages")
    if not isinstance(messages, list) or request.get("tools") or request.get("functions"):
        return ""
    roles = [message.get("role") for message in messages]
    if roles not in (["user"], ["system", "user"], ["developer", "user"]):
        return ""
    content = messages[-1].get("content")
    return content.strip() if isinstance(content, str) else message_text(content).strip()


def _lowest(
    recorded: Iterable[RecordedQuestion], limit: int, seed: int
) -> Iterator[RecordedQuestion]:
    """Yield those with the lowest seeded hashes, whatever their order."""
    askable = (one for one in recorded if question_of(one[1]))
    yield from heapq.nsmallest(limit, askable, key=lambda one: _rank(seed, one[0]))


def _rank(seed: int, identifier: str) -> bytes:
    return blake2b(f"{seed}:{identifier}".encode(), digest_size=8).digest()


def _seed(found: Sequence[tuple[str, tuple[str, Mapping[str, Any]]]], number: int) -> Seed:
    turn, place = divmod(number, len(found))
    interaction, (text, request) = found[place]
    variation = VARIATIONS[(place + turn) % len(VARIATIONS)]
    others = [found[(place + step) % len(found)][1][0] for step in range(1, EXAMPLES)]
    examples = [other for other in dict.fromkeys(others) if other != text]
    return Seed(f"synthetic-{interaction}-{variation}", variation, [text, *examples], request)
