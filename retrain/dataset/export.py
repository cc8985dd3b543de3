"""Pairs for others: TRL's conversational preference rows, or OpenAI's preference format. Pure."""

from typing import Any

from retrain.dataset.pairs import Pair
from retrain.schemas import ExportFormat


def exported(pair: Pair, style: ExportFormat) -> dict[str, Any] | None:
    """One pair as a row; None for a plain completion, which has no conversation.

    OpenAI's format has no weights; TRL's rows carry weight, signal and id beside the texts.
    """
    if pair.messages is None:
        return None
    better, worse = _turn(pair.chosen.text), _turn(pair.rejected.text)
    if style == "openai":
        asked: dict[str, Any] = {"messages": pair.messages}
        if pair.tools:
            asked["tools"] = pair.tools
        return {"input": asked, "preferred_output": better, "non_preferred_output": worse}
    row: dict[str, Any] = {"prompt": pair.messages, "chosen": better, "rejected": worse}
    if pair.tools:
        row["tools"] = pair.tools
    return {**row, "weight": pair.weight, "signal": pair.signal, "id": pair.id}


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
