"""How a chat template writes an answer, asked with a conversation of one word."""

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
"""Some templates insist on a system turn."""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How the template writes an answer: `answer` from its header on, `opening` for generation.

    `end` is the id with which it ends a turn, None where that is none of the engine's.
    """

    text: str
    answer: str
    opening: str
    end: int | None

    def missing(self, prompt: str, *, opened: bool) -> str | None:
        """What of the form is not in `prompt` yet; None: the prompt has gone another way.

        `opened`: the prompt was rendered for generation, so it has the answer's header at least.
        """
        header = sum(1 for _ in takewhile(_same, zip(self.opening, self.answer, strict=False)))
        # An answer may begin with what the prompt happens to end with: that is none of the form.
        place = self.answer.find(self.text.strip(), header)
        there = _overlap(prompt, self.answer if place < 0 else self.answer[:place])
        return None if opened and there < header else self.answer[there:]


def answer_form(
    tokenizer: Tokenizer, ends: AbstractSet[int], text: str, turn: ServedTurn
) -> AnswerForm | None:
    """Ask the template for an answer's form; None where there is no template, or no stable form."""
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
    """The end of the turn; behind it there may be blanks only.

    Many templates put a newline there, which the engine never samples.
    """
    ids = encode(tokenizer, answer)
    place = place_of_end(ends, ids)
    if place is None:
        return None
    if decode(tokenizer, ids[place + 1 :]).strip():
        raise RenderingError("text_after_end_of_turn")
    return ids[place]


def _question(tokenizer: Tokenizer, turn: ServedTurn) -> tuple[list[Message], str]:
    """The shortest conversation that the template takes, and what it makes of it."""
    for asked in _QUESTIONS:
        try:
            return asked, _render(tokenizer, asked, turn, generate=False)
        except RenderingError:
            continue
    raise RenderingError("unrenderable")


def _overlap(prompt: str, answer: str) -> int:
    """The length of the longest beginning of `answer` that `prompt` ends with."""
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
    except (TemplateError, TypeError, ValueError):  # the template's own; it may quote the text
        raise RenderingError("unrenderable") from None


def place_of_end(ends: AbstractSet[int], ids: Sequence[int]) -> int | None:
    """Where the first end of a turn stands in `ids`."""
    return next((index for index, token in enumerate(ids) if token in ends), None)
