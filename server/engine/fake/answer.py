"""The fake engine's answers: words chosen by a hash of version, prompt and choice."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

END_OF_TEXT = 0
"""The id of the token that ends an answer; it has no text, like a model's end token."""

_VOCABULARY = (
    "amber basil cedar clover copper daisy fern garden harvest hazel ivy lantern linden maple "
    "meadow mint moss nettle oak olive orchard pebble pine plum quill river rowan sage thistle "
    "thyme timber willow"
)
_LEAST_WORDS, _MOST_WORDS = 6, 14
VOCABULARY = 50_001
"""The number of token ids, including `END_OF_TEXT`."""


@dataclass(frozen=True, slots=True)
class FakeAnswer:
    """One choice: `(text, token id)` pairs in order, and its finish reason."""

    pieces: tuple[tuple[str, int], ...]
    finish_reason: str

    @property
    def text(self) -> str:
        """The complete text."""
        return "".join(text for text, _ in self.pieces)


def sentinel(version: str) -> str:
    """Return the word with which every answer of `version`, and of no other version, begins."""
    return f"v{sha256(version.encode()).hexdigest()[:8]}"


def prompt_text(fields: Mapping[str, Any]) -> str:
    """Return the prompt as one string."""
    return json.dumps(fields.get("messages", fields.get("prompt")), sort_keys=True)


def token_ids(text: str) -> list[int]:
    """Return one token id for each word."""
    return [_token_id(word) for word in text.split()]


def answer(version: str, fields: Mapping[str, Any], choice: int) -> FakeAnswer:
    """Return the answer to a request's accepted fields; deterministic in its arguments."""
    text = tool_call(fields)
    if text is None:
        text = " ".join([sentinel(version), *_words(f"{version}|{prompt_text(fields)}|{choice}")])
    pieces = list(_pieces(text))
    stopped = _stop_at(pieces, fields.get("stop"))
    if not stopped:
        pieces.append(("", END_OF_TEXT))
    limit = fields.get("max_completion_tokens", fields.get("max_tokens", _MOST_WORDS + 2))
    if len(pieces) > limit:
        return FakeAnswer(tuple(pieces[:limit]), "length")
    return FakeAnswer(tuple(pieces), "stop")


def tool_call(fields: Mapping[str, Any]) -> str | None:
    """Return a fixed call, as JSON, of the tool that the request requires; else None."""
    choice = fields.get("tool_choice")
    if choice != "required" and not isinstance(choice, dict):
        return None
    wanted = choice if isinstance(choice, dict) else fields["tools"][0]
    return json.dumps({"name": wanted["function"]["name"], "arguments": {}})


def _words(seed: str) -> Iterator[str]:
    digest = sha256(seed.encode()).digest()
    count = _LEAST_WORDS + digest[0] % (_MOST_WORDS - _LEAST_WORDS)
    words = _VOCABULARY.split()
    return (words[byte % len(words)] for byte in digest[1 : count + 1])


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    for place, word in enumerate(text.split(" ")):
        yield (word if place == 0 else f" {word}"), _token_id(word)


def _token_id(word: str) -> int:
    return 1 + int.from_bytes(sha256(word.encode()).digest()[:4], "big") % (VOCABULARY - 1)


def _stop_at(pieces: list[tuple[str, int]], stop: str | list[str] | None) -> bool:
    """Cut `pieces` in place at the first stop string; return whether there was one."""
    stops = [stop] if isinstance(stop, str) else stop or []
    text = "".join(piece for piece, _ in pieces)
    ends = [place for one in stops if (place := text.find(one)) >= 0]
    if not ends:
        return False
    room = min(ends)
    for index, (piece, token) in enumerate(pieces):
        if len(piece) >= room:
            pieces[index:] = [(piece[:room], token)]
            break
        room -= len(piece)
    return True
