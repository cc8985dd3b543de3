"""Find out how a chat template formats an answer, by rendering a minimal conversation."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from inspect import signature
from itertools import takewhile

from jinja2 import TemplateError

from retrain.trainer.examples.rows import ServedTurn
from retrain.trainer.examples.tokenizer import Message, RenderingError, Tokenizer, decode, encode

_QUESTION: Message = {"role": "user", "content": "x"}
_INSTRUCTION: Message = {"role": "system", "content": "x"}
_QUESTIONS = ([_QUESTION], [_INSTRUCTION, _QUESTION])
"""Conversations to try; some templates require a system message."""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How the template formats an answer.

    Attributes:
        text: The answer's text.
        answer: The formatted answer, from the turn's header to its end.
        opening: The generation prompt: what the template appends for the model to continue.
        end: Id of the token that ends the turn; None if the engine does not stop at it.

    """

    text: str
    answer: str
    opening: str
    end: int | None

    def missing(self, prompt: str, *, opened: bool) -> str | None:
        """Return the rest of `answer` that must follow `prompt`, whose end may contain its start.

        Returns None if the prompt does not end with the template's header. `opened` tells that the
        prompt was rendered for generation, so that it must contain the header.
        """
        header = sum(1 for _ in takewhile(_same, zip(self.opening, self.answer, strict=False)))
        # The text may begin with what the prompt happens to end with; match the form only.
        place = self.answer.find(self.text.strip(), header)
        there = _overlap(prompt, self.answer if place < 0 else self.answer[:place])
        return None if opened and there < header else self.answer[there:]


def answer_form(
    tokenizer: Tokenizer, ends: AbstractSet[int], text: str, turn: ServedTurn
) -> AnswerForm | None:
    """Return how the template formats `text` as an answer.

    Returns None if there is no template, or if it renders the question differently once there is
    an answer. Raises `RenderingError`.
    """
    if not tokenizer.chat_template:
        return None
    asked, question = _question(tokenizer, turn)
    answered = [*asked, {"role": "assistant", "content": text}]
    whole = _render(tokenizer, answered, turn, generate=False)
    if not whole.startswith(question):
        return None
    prompt = _render(tokenizer, asked, turn, generate=True)
    opening = prompt.removeprefix(question) if prompt.startswith(question) else ""
    answer = whole.removeprefix(question)
    return AnswerForm(text, answer, opening, _end_of(tokenizer, ends, answer))


def _end_of(tokenizer: Tokenizer, ends: AbstractSet[int], answer: str) -> int | None:
    """Return the id that ends the turn, or None. Only white space may follow it.

    Many templates add a newline there, which the engine never samples. Raises `RenderingError`.
    """
    ids = encode(tokenizer, answer)
    place = end_of_turn_index(ends, ids)
    if place is None:
        return None
    if decode(tokenizer, ids[place + 1 :]).strip():
        raise RenderingError("text_after_end_of_turn")
    return ids[place]


def _question(tokenizer: Tokenizer, turn: ServedTurn) -> tuple[list[Message], str]:
    """Return the shortest conversation that the template accepts, and its rendering."""
    for asked in _QUESTIONS:
        try:
            return asked, _render(tokenizer, asked, turn, generate=False)
        except RenderingError:
            continue
    raise RenderingError("unrenderable")


def _overlap(prompt: str, answer: str) -> int:
    """Return the length of the longest prefix of `answer` that is a suffix of `prompt`."""
    longest = min(len(prompt), len(answer))
    return next(size for size in range(longest, -1, -1) if prompt.endswith(answer[:size]))


def _same(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


def _render(
    tokenizer: Tokenizer, messages: list[Message], turn: ServedTurn, *, generate: bool
) -> str:
    own = {*signature(tokenizer.apply_chat_template).parameters, "messages"}
    arguments = {name: value for name, value in turn.arguments.items() if name not in own}
    try:
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=generate, tokenize=False, **arguments
        )
    except (TemplateError, TypeError, ValueError):  # not chained: it may quote the text
        raise RenderingError("unrenderable") from None


def end_of_turn_index(ends: AbstractSet[int], ids: Sequence[int]) -> int | None:
    """Return the index of the first id in `ids` that ends a turn, or None."""
    return next((index for index, token in enumerate(ids) if token in ends), None)
