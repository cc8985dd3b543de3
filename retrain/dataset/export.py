"""Export pairs and labels as training rows of other programs. Pure.

Pairs as TRL's conversational preference rows or in OpenAI's preference format; labels as TRL's
conversational rows for KTO (unpaired preferences).
"""

import json
from collections.abc import Iterator
from typing import Any, Literal

from feedback.answer_parts import AnswerParts, ToolCall
from retrain.dataset.labels import Label
from retrain.dataset.pairs import Pair, PairsResult

PairFormat = Literal["trl", "openai"]
ExportFormat = PairFormat | Literal["kto"]
"""TRL's or OpenAI's format for pairs, or TRL's format of labels for KTO."""
Turn = dict[str, Any]


def exported_rows(result: PairsResult, style: ExportFormat) -> Iterator[dict[str, Any]]:
    """Yield the rows of one conversation: its pairs, or its labels in the format for KTO."""
    if style == "kto":
        rows = (exported_label(label) for label in result.labels)
    else:
        rows = (exported(pair, style) for pair in result.pairs)
    yield from (row for row in rows if row is not None)


def exported(pair: Pair, style: PairFormat) -> dict[str, Any] | None:
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


def exported_label(label: Label) -> dict[str, Any] | None:
    """Return a label as a row of TRL's unpaired preferences, or None for a plain completion.

    Source: TRL's "Dataset formats", unpaired preference. `weight`, `signal` and `id` are added.
    """
    if label.messages is None:
        return None
    completion = [_trl_turn(label.side.parts)]
    row: dict[str, Any] = {"prompt": label.messages, "completion": completion, "label": label.good}
    if label.tools:
        row["tools"] = label.tools
    return {**row, "weight": label.weight, "signal": label.signal, "id": label.id}


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
