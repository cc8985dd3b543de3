"""Compute the token ids of a demonstration: a better answer that a person wrote.

The ids continue the prompt as it was served, whose token ids are in the log. The conversation is
not rendered again, because the ids already reflect everything that shaped the prompt: template
arguments, reasoning effort, `developer` messages, a final message to continue. The chat template is
only used to find out how an answer is formatted (`answer_form`). The part of that format with which
the prompt already ends is left out; an empty reasoning block in the prompt is not repeated.

If the served answer has reasoning before its visible text, the demonstration replaces the visible
text and keeps the reasoning. Training on answers without reasoning would disable it.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from retrain.trainer.examples.answer_form import AnswerForm, answer_form, end_of_turn_index
from retrain.trainer.examples.reasoning import Reasoning, closes, is_closed, is_open, reasoning_of
from retrain.trainer.examples.rows import ServedTurn
from retrain.trainer.examples.tokenizer import (
    RenderingError,
    Tokenizer,
    control_ids,
    decode,
    encode,
)

TAIL_TOKENS = 512
"""Number of tokens at the end of a prompt that are decoded: more than any template puts in front of
an answer."""


@dataclass(frozen=True, slots=True)
class Served:
    """The prompt and the answer that a demonstration replaces, as served."""

    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]
    turn: ServedTurn | None
    """None for a plain completion, which has no chat turns."""


def demonstration_ids(
    tokenizer: Tokenizer, ends: AbstractSet[int], text: str, served: Served
) -> list[int]:
    """Return the ids of `text` as the answer to the served prompt, including the end of the turn.

    Args:
        tokenizer: The base model's, with the server's chat template.
        ends: Ids at which the engine stops.
        text: The demonstration.
        served: The prompt, and the answer that the demonstration is better than.

    Raises:
        RenderingError: The text contains control tokens, which could forge turns; the template
            rejects an answer or appends text after the end of the turn; the id that ends a turn is
            unknown; or the prompt ends inside reasoning and nothing shows how to end it.

    """
    if set(encode(tokenizer, text)) & (control_ids(tokenizer) | ends):
        raise RenderingError("special_tokens")
    form = None if served.turn is None else answer_form(tokenizer, ends, text, served.turn)
    reasoning = _reasoning(tokenizer, text, served)
    if reasoning is not None:
        kept, rest = reasoning.ids, reasoning.border + text
    else:
        kept, rest = [], _rest(tokenizer, text, form, served)
    ids = _continued(tokenizer, [*served.prompt_ids, *kept], rest)
    answer = ids[: end_of_turn_index(ends, ids)]
    return [*kept, *answer, _end(tokenizer, ends, served, form)]


def _reasoning(tokenizer: Tokenizer, text: str, served: Served) -> Reasoning | None:
    """Return the served answer's reasoning, which is kept, or None."""
    if served.turn is None or closes(text):  # the demonstration has reasoning of its own
        return None
    ids = served.answer_ids
    if ids and ids[-1] in control_ids(tokenizer):
        ids = ids[:-1]
    closed = is_closed(_prompt_text(tokenizer, served))
    return reasoning_of(tokenizer, ids, served.turn.content, closed=closed)


def _rest(tokenizer: Tokenizer, text: str, form: AnswerForm | None, served: Served) -> str:
    """Return the text that must follow the served prompt, formatted as the template does."""
    turn = served.turn
    if turn is None or turn.continue_final_message:
        return text
    prompt = _prompt_text(tokenizer, served)
    missing = None
    if form is not None:
        missing = form.missing(prompt, opened=turn.add_generation_prompt)
    if form is not None and missing is not None:
        return missing if form.end is not None else _up_to(text, missing)
    if is_open(prompt) and not closes(text):
        raise RenderingError("reasoning_not_closed")
    return text


def _up_to(text: str, answer: str) -> str:
    """Return `answer` up to the end of `text`, which the template may have stripped."""
    place = answer.rfind(text.strip())
    return answer[: place + len(text.strip())] if place >= 0 else text


def _prompt_text(tokenizer: Tokenizer, served: Served) -> str:
    return decode(tokenizer, served.prompt_ids[-TAIL_TOKENS:])


def _continued(tokenizer: Tokenizer, before: Sequence[int], text: str) -> list[int]:
    """Return the ids of `text` in the context of the ids `before`.

    Some tokenizers put a space in front of a text encoded on its own. Therefore the text is encoded
    together with the last ids before it, if those ids are unchanged in the result. If a token would
    span both, the text is encoded on its own, since the ids before it must stay as served.
    """
    special = control_ids(tokenizer)
    tail = before[-TAIL_TOKENS:]
    start = next((at for at in reversed(range(len(tail))) if tail[at] in special), None)
    if start is not None:
        anchor = list(tail[start:])
        ids = encode(tokenizer, decode(tokenizer, anchor) + text)
        if ids[: len(anchor)] == anchor:
            return ids[len(anchor) :]
    return encode(tokenizer, text)


def _end(
    tokenizer: Tokenizer, ends: AbstractSet[int], served: Served, form: AnswerForm | None
) -> int:
    """Return the id that ends the turn: the served answer's, else the template's.

    If the served answer called a tool, the template's comes first, because calls may end with a
    token of their own (`<|call|>`). Raises `RenderingError` if none is known.
    """
    last = served.answer_ids[-1] if served.answer_ids else None
    known = [last if last in ends else None, None if form is None else form.end]
    if served.turn is not None and served.turn.called:
        known.reverse()
    for end in (*known, tokenizer.eos_token_id):
        if end is not None:
            return end
    raise RenderingError("no_end_of_turn")
