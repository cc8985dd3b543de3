"""The parts of an answer: text, tool calls, reasoning, a refusal. Pure.

The log stores an answer's raw text. If the answer has further parts, the log also stores the
assistant's message as it was served, in OpenAI's format. `served_messages` extracts it from the
response, and `AnswerParts.of` parses it for the code that compares answers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson

from feedback.records import canonical

Message = dict[str, Any]

_TEXTS = ("content", "reasoning", "reasoning_content", "refusal")
_PARTS = ('"tool_calls"', '"function_call"', '"reasoning', '"refusal"')
"""Keys of deltas with further parts; a stream without any of them is text only, not parsed."""
_EVENT = "data: "


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call; `arguments` are as the model wrote them, and may be invalid JSON."""

    name: str
    arguments: str

    @property
    def value(self) -> Any:
        """The parsed arguments. Raises ValueError if they are not JSON."""
        return json.loads(self.arguments)

    @property
    def key(self) -> tuple[str, bytes]:
        """Equal for calls of the same tool whose arguments are equal as JSON."""
        try:
            return self.name, canonical(self.value)
        except (ValueError, RecursionError):
            return self.name, b"text:" + self.arguments.encode("utf-8", "surrogatepass")

    def rendered(self) -> str:
        """One line of text for readers that take only text; the same for equal calls."""
        try:
            arguments = json.dumps(self.value, ensure_ascii=False, sort_keys=True)
        except (ValueError, RecursionError):
            arguments = json.dumps(self.arguments, ensure_ascii=False)
        return f"[tool call] {json.dumps(self.name, ensure_ascii=False)} {arguments}"


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """An answer's parts. `reasoning` is not shown to the user and is therefore not judged."""

    content: str = ""
    calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    reasoning: str | None = None

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """Parse an assistant's message in OpenAI's format, including the older `function_call`."""
        return cls(
            content=_text(message, "content") or "",
            calls=tuple(_calls(message)),
            refusal=_text(message, "refusal"),
            reasoning=_text(message, "reasoning") or _text(message, "reasoning_content"),
        )

    @property
    def text(self) -> str:
        """The text that the user sees: the content or the refusal."""
        return "\n".join(part for part in (self.content, self.refusal) if part)

    @property
    def key(self) -> tuple[str, tuple[tuple[str, bytes], ...]]:
        """Equal for answers with the same text and tool calls; reasoning is ignored."""
        return self.text, tuple(call.key for call in self.calls)

    def rendered(self) -> str:
        """The text and the tool calls as one text, for judges and metrics that take only text."""
        return "\n".join([*([self.text] if self.text else []), *map(ToolCall.rendered, self.calls)])


def has_parts(served: Sequence[str]) -> bool:
    """Return whether the response may contain more than text; a fast check for every answer."""
    return any(part in sent for sent in served for part in _PARTS)


def served_messages(served: Sequence[str]) -> dict[int, Message]:
    """Return the assistant's messages by choice, from a JSON body or a stream's events.

    Other content (an error event, the end of the stream, a plain completion) is skipped.
    """
    if len(served) == 1 and not served[0].startswith(_EVENT):
        choices = _choices(served[0])
        return {one["index"]: one["message"] for one in choices if "message" in one}
    merged: dict[int, _Merged] = {}
    if not has_parts(served):
        return {}
    for event in served:
        for one in _choices(event.removeprefix(_EVENT)):
            if one.get("delta"):
                merged.setdefault(one["index"], _Merged()).add(one["delta"])
    return {index: one.message() for index, one in merged.items()}


def kept_message(message: Mapping[str, Any] | None, text: str) -> Message | None:
    """Return the message that the log stores beside the raw text, or None if the text suffices."""
    if message is None:
        return None
    kept = {name: message[name] for name in _TEXTS if message.get(name)}
    for name in ("tool_calls", "function_call"):
        if message.get(name):
            kept[name] = message[name]
    if kept.keys() <= {"content"} and kept.get("content", "") == text:
        return None
    return {"role": "assistant", "content": None, **kept}


class _Merged:
    """A message assembled from a stream's deltas."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, Message] = {}
        self._function: Message = {}

    def add(self, delta: Mapping[str, Any]) -> None:
        for name in _TEXTS:
            if isinstance(delta.get(name), str):
                self._texts.setdefault(name, []).append(delta[name])
        for part in delta.get("tool_calls") or ():
            call = self._calls.setdefault(part.get("index", len(self._calls)), {})
            call["id"] = part.get("id") or call.get("id")
            call["type"] = "function"
            _join(call.setdefault("function", {}), part.get("function") or {})
        _join(self._function, delta.get("function_call") or {})

    def message(self) -> Message:
        message: Message = {name: "".join(parts) for name, parts in self._texts.items()}
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        if self._function:
            message["function_call"] = self._function
        return message


def _join(function: Message, part: Mapping[str, Any]) -> None:
    for name in ("name", "arguments"):
        if isinstance(part.get(name), str):
            function[name] = function.get(name, "") + part[name]


def _choices(text: str) -> Sequence[Any]:
    if not text.startswith("{"):
        return ()
    body = orjson.loads(text)
    choices = body.get("choices") if isinstance(body, dict) else None
    return choices if isinstance(choices, list) else ()


def _calls(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    older = message.get("function_call")
    for call in (*(message.get("tool_calls") or ()), *([{"function": older}] if older else ())):
        function = call.get("function") or {}
        arguments = function.get("arguments")
        written = arguments if isinstance(arguments, str) else canonical(arguments or {}).decode()
        yield ToolCall(str(function.get("name") or ""), written)


def _text(message: Mapping[str, Any], name: str) -> str | None:
    value = message.get(name)
    return value if isinstance(value, str) and value else None
