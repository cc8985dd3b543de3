"""Find where reasoning ends: in a prompt, in a sampled answer, in a demonstration."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from retrain.trainer.examples.tokenizer import Tokenizer, decode

_TAG = re.compile(r"[<\[◁][^<>\[\]◁▷\s]{1,40}[>\]▷]\s*$")
_CLOSING = re.compile(r"/|end", re.IGNORECASE)
_END_OF_REASONING = re.compile(r"</(?:think|thinking|reasoning|thought)>\s*|\[/THINK\]\s*")
"""End of reasoning in the raw text of an answer that the log holds without separate parts."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The reasoning of an answer.

    `ids` are the sampled tokens before the visible text. `border` is the text between their end and
    the visible text, if a token spans both.
    """

    ids: list[int]
    border: str


def reasoning_of(
    tokenizer: Tokenizer, answer_ids: Sequence[int], content: str | None, *, closed: bool
) -> Reasoning | None:
    """Return the part of an answer before its visible text, or None if all of it was visible.

    Args:
        tokenizer: The base model's.
        answer_ids: The sampled answer.
        content: The visible text; None if unknown.
        closed: Whether the prompt ends with the end of reasoning, so that the answer has none.

    """
    raw = decode(tokenizer, answer_ids)
    cut = _seen_from(raw, content, closed=closed)
    if not raw[:cut].strip():
        return None
    ids = _ids_before(tokenizer, answer_ids, cut)
    return Reasoning(ids, raw[len(decode(tokenizer, ids)) : cut])


def _seen_from(raw: str, content: str | None, *, closed: bool) -> int:
    """Return the index in `raw` at which the visible text begins; 0 if unknown."""
    seen = (content or "").strip()
    if seen and (place := raw.rfind(seen)) >= 0:
        return place
    marks = [] if closed else list(_END_OF_REASONING.finditer(raw))
    return marks[-1].end() if marks else 0


def _ids_before(tokenizer: Tokenizer, ids: Sequence[int], cut: int) -> list[int]:
    """Return the longest prefix of `ids` whose text has at most `cut` characters."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        if len(decode(tokenizer, ids[:middle])) <= cut:
            low = middle
        else:
            high = middle - 1
    return list(ids[:low])


def closes(text: str) -> bool:
    """Return whether a text contains the end of reasoning."""
    return _END_OF_REASONING.search(text) is not None


def is_closed(prompt: str) -> bool:
    """Return whether a prompt ends with the end of reasoning, so that the answer has none."""
    return any(mark.end() == len(prompt) for mark in _END_OF_REASONING.finditer(prompt))


def is_open(prompt: str) -> bool:
    """Return whether a prompt ends with an opening tag."""
    tag = _TAG.search(prompt)
    return tag is not None and _CLOSING.search(tag.group()) is None
