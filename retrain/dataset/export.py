"""Export pairs as TRL's conversational preference rows or in OpenAI's preference format. Pure."""

import json
from typing import Any

from feedback.answer_parts import AnswerParts, ToolCall
from retrain.dataset.pairs import Pair
from retrain.schemas import ExportFormat

Turn = dict[str, Any]


def exported(pair: Pair, style: ExportFormat) -> dict[str, Any] | None:
    """Return a pair as a row of the format, or None for a plain completion, which has no messages.

    TRL's rows also have `weight`, `signal` and `id`; OpenAI's format has no place for them.
    """
    if pair.messages is None:
        return None
    turn = _openai_turn if style == "openai" else _trl_turn
    better, worse = [turn(pair.chosen.parts)], [turn(pair.rejected.parts)]
    if style == "openai":
        asked: dict[str, Any] = {"messages": pair.messages}
        if pair.tools:
            asked["tools"] = pair.tools
        return {"input": asked, "preferred_output": better, "non_preferred_output": worse}
    row: dict[str, Any] = {"prompt": pair.messages, "chosen": better, "rejected": worse}
    if pair.tools:
        row["tools"] = pair.tools
    return {**row, "weight": pair.weight, "signal": pair.signal, "id": pair.id}


def _openai_turn(parts: AnswerParts) -> Turn:
    """Return OpenAI's message: calls have ids, and their arguments are a string of JSON."""
    turn: Turn = {"role": "assistant", "content": parts.text}
    if parts.calls:
        turn["content"] = parts.text or None
        turn["tool_calls"] = [
            {"id": f"call_{number}", **_call(call, call.arguments)}
            for number, call in enumerate(parts.calls)
        ]
    return turn


def _trl_turn(parts: AnswerParts) -> Turn:
    """Return the message for chat templates: arguments are an object, reasoning has its own key."""
    turn: Turn = {"role": "assistant", "content": parts.text}
    if parts.reasoning:
        turn["reasoning_content"] = parts.reasoning
    if parts.calls:
        turn["tool_calls"] = [_call(call, _arguments(call)) for call in parts.calls]
    return turn


def _call(call: ToolCall, arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": call.name, "arguments": arguments}}


def _arguments(call: ToolCall) -> Any:
    try:
        return call.value
    except (json.JSONDecodeError, RecursionError):  # the model's arguments are not valid JSON
        return call.arguments
