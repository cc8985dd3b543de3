"""Where reasoning ends: in a prompt, in an answer as it was sampled, in what a person wrote."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrain.trainer.examples.tokenizer import Tokenizer, decode

_TAG = re.compile(r"[<\[◁][^<>\[\]◁▷\s]{1,40}[>\]▷]\s*$")
_CLOSING = re.compile(r"/|end", re.IGNORECASE)
_END_OF_REASONING = re.compile(r"</(?:think|thinking|reasoning|thought)>\s*|\[/THINK\]\s*")
"""How reasoning ends in the raw text of an answer of which the log holds no parts."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The sampled ids before what the reader saw, and text of a token across that border."""

    ids: list[int]
    border: str


def reasoning_of(
    tokenizer: Tokenizer, answer_ids: Sequence[int], content: str | None, *, closed: bool
) -> Reasoning | None:
    """What an answer says before what its reader saw; None where all of it was seen.

    `content` is what was seen, None where that is not known. `closed`: the prompt has ended the
    reasoning already, so the answer has none.
    """
    raw = decode(tokenizer, answer_ids)
    cut = _seen_from(raw, content, closed=closed)
    if not raw[:cut].strip():
        return None
    ids = _ids_before(tokenizer, answer_ids, cut)
    return Reasoning(ids, raw[len(decode(tokenizer, ids)) : cut])


def _seen_from(raw: str, content: str | None, *, closed: bool) -> int:
    """Where in a raw answer begins what its reader saw; 0 where that cannot be told."""
    seen = (content or "").strip()
    if seen and (place := raw.rfind(seen)) >= 0:
        return place
    marks = [] if closed else list(_END_OF_REASONING.finditer(raw))
    return marks[-1].end() if marks else 0


def _ids_before(tokenizer: Tokenizer, ids: Sequence[int], cut: int) -> list[int]:
    """The longest beginning of `ids` whose text is at most `cut` characters long."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        if len(decode(tokenizer, ids[:middle])) <= cut:
            low = middle
        else:
            high = middle - 1
    return list(ids[:low])


def closes(text: str) -> bool:
    """Whether a text has the end of a reasoning in it."""
    return _END_OF_REASONING.search(text) is not None


def is_closed(prompt: str) -> bool:
    """Whether a prompt ends with the end of a reasoning, so that the answer has none."""
    return any(mark.end() == len(prompt) for mark in _END_OF_REASONING.finditer(prompt))


def is_open(prompt: str) -> bool:
    """Whether a prompt ends with a tag that begins something."""
    tag = _TAG.search(prompt)
    return tag is not None and _CLOSING.search(tag.group()) is None
