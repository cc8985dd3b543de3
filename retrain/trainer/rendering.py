"""The token ids of an answer that nobody sampled: a demonstration, rendered as it would be served.

The engine stops at an end-of-turn token and keeps it, so the ids end there too. Many templates put
a newline behind it, which the engine never samples and which must not be trained on either.
"""

import json
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from jinja2 import TemplateError

Message = dict[str, Any]


class Tokenizer(Protocol):
    """What rendering needs of a Hugging Face tokenizer."""

    chat_template: str | None
    eos_token_id: int | None
    all_special_ids: list[int]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the ids of `text`."""
        ...

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of `token_ids`."""
        ...

    def apply_chat_template(
        self,
        conversation: list[Message],
        *,
        tools: list[dict[str, Any]] | None,
        add_generation_prompt: bool,
        tokenize: bool,
    ) -> str:
        """Render a conversation as text."""
        ...


class RenderingError(Exception):
    """A text that cannot be rendered; `reason` is a word to count it under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def completion_ids(
    tokenizer: Tokenizer,
    ends: AbstractSet[int],
    text: str,
    messages: list[Message] | None,
    tools: list[dict[str, Any]] | None,
) -> list[int]:
    """Return the ids that the model would have sampled for `text`, the end-of-turn token included.

    `ends` are the ids that end a turn (the engine's stop tokens). Raises `RenderingError` when the
    text holds control tokens (they would forge turns) or the template refuses the conversation.
    """
    if set(_encode(tokenizer, text)) & (set(tokenizer.all_special_ids) | ends):
        raise RenderingError("special_tokens")
    tail = _rendered_tail(tokenizer, text, messages, tools)
    end = next((index for index, token in enumerate(tail or ()) if token in ends), None)
    if tail is None or end is None:
        return _plain(tokenizer, text)
    if tokenizer.decode(tail[end + 1 :]).strip():
        raise RenderingError("text_after_end_of_turn")
    return tail[: end + 1]


def _plain(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokenise the text alone and end the turn: where no template says how."""
    if tokenizer.eos_token_id is None:
        raise RenderingError("no_end_of_turn")
    return [*_encode(tokenizer, text), tokenizer.eos_token_id]


def _rendered_tail(
    tokenizer: Tokenizer,
    text: str,
    messages: list[Message] | None,
    tools: list[dict[str, Any]] | None,
) -> list[int] | None:
    """Return what the template puts after the prompt, or None where it has no such thing."""
    if not messages or not tokenizer.chat_template:
        return None
    history = [_template_message(message) for message in messages]
    prompt = _render(tokenizer, history, tools, generate=True)
    answered = [*history, {"role": "assistant", "content": text}]
    whole = _render(tokenizer, answered, tools, generate=False)
    if not whole.startswith(prompt):
        return None
    prompt_ids, whole_ids = _encode(tokenizer, prompt), _encode(tokenizer, whole)
    if whole_ids[: len(prompt_ids)] == prompt_ids:
        return whole_ids[len(prompt_ids) :]
    return _encode(tokenizer, whole.removeprefix(prompt))


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def _render(
    tokenizer: Tokenizer,
    messages: list[Message],
    tools: list[dict[str, Any]] | None,
    *,
    generate: bool,
) -> str:
    try:
        return tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=generate, tokenize=False
        )
    except (TemplateError, TypeError):  # raised by the template; its message may quote the text
        raise RenderingError("unrenderable") from None


def _template_message(message: Message) -> Message:
    """Put an OpenAI message into the form that templates expect, as the engine does.

    Text parts become one string, and a tool call's arguments an object.
    """
    result = dict(message)
    if isinstance(result.get("content"), list):
        parts = [part.get("text", "") for part in result["content"] if part.get("type") == "text"]
        result["content"] = "\n".join(parts)
    if result.get("tool_calls"):
        result["tool_calls"] = [_template_call(call) for call in result["tool_calls"]]
    return result


def _template_call(call: dict[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function", {}))
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except ValueError:
            raise RenderingError("unrenderable") from None
    return {**call, "function": function}
