"""Pairs for others: TRL's conversational preference rows, or OpenAI's preference format. Pure."""

import json
from typing import Any

from feedback.answer_parts import AnswerParts, ToolCall
from retrain.dataset.pairs import Pair
from retrain.schemas import ExportFormat

Turn = dict[str, Any]


def exported(pair: Pair, style: ExportFormat) -> dict[str, Any] | None:
    """One pair as a row; None for a plain completion, which has no conversation.

    OpenAI's format has no weights; TRL's rows carry weight, signal and id beside the answers.
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
    """OpenAI's message: calls have ids, and arguments are JSON in a string."""
    turn: Turn = {"role": "assistant", "content": parts.text}
    if parts.calls:
        turn["content"] = parts.text or None
        turn["tool_calls"] = [
            {"id": f"call_{number}", **_call(call, call.arguments)}
            for number, call in enumerate(parts.calls)
        ]
    return turn


def _trl_turn(parts: AnswerParts) -> Turn:
    """As chat templates take it: arguments are an object, reasoning is apart from the content."""
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
    except (json.JSONDecodeError, RecursionError):  # the model wrote no JSON: as it wrote it
        return call.arguments
