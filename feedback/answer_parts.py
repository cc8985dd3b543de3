"""The parts of an answer: what its reader sees, the tools it calls, reasoning, a refusal. Pure.

The log holds an answer's raw text; where that is not all there is to say, it also holds the
assistant's message as it was served, in OpenAI's form. `served_messages` finds it in what left the
server, and `AnswerParts.of` reads it for everybody who compares answers.
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
"""Keys of deltas: a stream without any of them is text only, and is not taken apart."""
_EVENT = "data: "


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool; `arguments` as the model wrote them, which need not be JSON."""

    name: str
    arguments: str

    @property
    def value(self) -> Any:
        """The arguments as JSON. Raises ValueError where they are none."""
        return json.loads(self.arguments)

    @property
    def key(self) -> tuple[str, bytes]:
        """Equal for calls of one name with equal arguments, compared as JSON."""
        try:
            return self.name, canonical(self.value)
        except (ValueError, RecursionError):
            return self.name, b"text:" + self.arguments.encode("utf-8", "surrogatepass")

    def rendered(self) -> str:
        """One line for whoever reads texts only: equal calls give the same line."""
        try:
            arguments = json.dumps(self.value, ensure_ascii=False, sort_keys=True)
        except (ValueError, RecursionError):
            arguments = json.dumps(self.arguments, ensure_ascii=False)
        return f"[tool call] {json.dumps(self.name, ensure_ascii=False)} {arguments}"


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """An answer's parts. `reasoning` is not shown to whoever asked, so nobody judges it."""

    content: str = ""
    calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    reasoning: str | None = None

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """Read an assistant's message in OpenAI's form, the older `function_call` included."""
        return cls(
            content=_text(message, "content") or "",
            calls=tuple(_calls(message)),
            refusal=_text(message, "refusal"),
            reasoning=_text(message, "reasoning") or _text(message, "reasoning_content"),
        )

    @property
    def text(self) -> str:
        """What the reader sees in words: the content, or the refusal in its place."""
        return "\n".join(part for part in (self.content, self.refusal) if part)

    @property
    def key(self) -> tuple[str, tuple[tuple[str, bytes], ...]]:
        """Equal for answers that say the same and call the same; reasoning makes no difference."""
        return self.text, tuple(call.key for call in self.calls)

    def rendered(self) -> str:
        """Text and calls as one text, for judges and metrics that take nothing else."""
        return "\n".join([*([self.text] if self.text else []), *map(ToolCall.rendered, self.calls)])


def has_parts(served: Sequence[str]) -> bool:
    """Whether what was sent may say more than text; a quick look, for every answer."""
    return any(part in sent for sent in served for part in _PARTS)


def served_messages(served: Sequence[str]) -> dict[int, Message]:
    """The assistant's messages by choice, from a JSON body or from a stream's events.

    What is neither (an error event, the end of the stream, a plain completion) gives none.
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
    """What of a message the log keeps beside the raw text; None: the text says it all."""
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
    """A message out of a stream's deltas."""

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
