"""The token ids of a demonstration: a better answer that a person wrote, so nobody sampled it.

The ids continue the prompt *as it was served*, whose token ids the log holds. The conversation is
never rendered again: what shaped its prompt (template arguments, reasoning effort, `developer`
turns, a final message to continue) is in those ids already. The template is asked one thing only,
how it writes an answer, with a conversation of one word. What the served prompt already ends with
of that form is left out, so that an empty reasoning block which the prompt contains is not written
a second time.

Where the served answer has reasoning before what its reader saw, the demonstration replaces what
was seen and keeps the reasoning: training on answers without any would switch reasoning off.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from retrain.trainer.examples.answer_form import AnswerForm, answer_form, place_of_end
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
"""Of a prompt this many last tokens are decoded: more than any template puts before an answer."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the demonstration is about: the prompt and the answer as served, and the turn's form."""

    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]
    turn: ServedTurn | None
    """None for a plain completion, which has no turns."""


def demonstration_ids(
    tokenizer: Tokenizer, ends: AbstractSet[int], text: str, served: Served
) -> list[int]:
    """Return the ids that follow the served prompt where `text` is the answer, its end included.

    Args:
        tokenizer: The base model's, with the chat template that serving uses.
        ends: The ids at which the engine stops.
        text: What a person would have answered.
        served: The prompt it answers, and the answer it is better than.

    Raises:
        RenderingError: The text holds control tokens (they would forge turns); the template
            refuses an answer or writes more than its end behind it; no end of a turn is known; or
            the prompt ends within reasoning and nothing shows how it is closed.

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
    answer = ids[: place_of_end(ends, ids)]
    return [*kept, *answer, _end(tokenizer, ends, served, form)]


def _reasoning(tokenizer: Tokenizer, text: str, served: Served) -> Reasoning | None:
    """The served answer's reasoning, which is kept."""
    if served.turn is None or closes(text):  # its writer saw the reasoning and wrote another
        return None
    ids = served.answer_ids
    if ids and ids[-1] in control_ids(tokenizer):
        ids = ids[:-1]
    closed = is_closed(_prompt_text(tokenizer, served))
    return reasoning_of(tokenizer, ids, served.turn.content, closed=closed)


def _rest(tokenizer: Tokenizer, text: str, form: AnswerForm | None, served: Served) -> str:
    """What of an answer's form is still missing behind the served prompt."""
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
    """Without what the template writes behind the text; a template may strip the text's ends."""
    place = answer.rfind(text.strip())
    return answer[: place + len(text.strip())] if place >= 0 else text


def _prompt_text(tokenizer: Tokenizer, served: Served) -> str:
    return decode(tokenizer, served.prompt_ids[-TAIL_TOKENS:])


def _continued(tokenizer: Tokenizer, before: Sequence[int], text: str) -> list[int]:
    """The ids of `text` as they follow `before`: some tokenizers begin a lone text with a space.

    The text is encoded together with the last ids before it and taken where those come out
    unchanged. Where they do not (the border would be merged), it is encoded alone: the ids before
    it are what was served, whatever happens.
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
    """How the turn ends: as the served answer did, else as the template ends one.

    A tool call may end in a way of its own (`<|call|>`), so then the template comes first.
    """
    last = served.answer_ids[-1] if served.answer_ids else None
    known = [last if last in ends else None, None if form is None else form.end]
    if served.turn is not None and served.turn.called:
        known.reverse()
    for end in (*known, tokenizer.eos_token_id):
        if end is not None:
            return end
    raise RenderingError("no_end_of_turn")
