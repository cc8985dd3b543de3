"""Render the demonstrations of a pairs file with the base model's tokenizer."""

from typing import Any

from retrain.trainer.examples.data import Render
from retrain.trainer.examples.rendering import Served, demonstration_ids
from retrain.trainer.examples.rows import PairRow, ServedTurn
from retrain.trainer.model import end_of_turn_ids


def renderer(tokenizer: Any, base_model: str) -> Render:
    """Return a function that tokenizes a text as the answer to a row's prompt."""
    ends = end_of_turn_ids(tokenizer, base_model)

    def render(text: str, row: PairRow) -> list[int]:
        # Snapshots of the previous release have `messages` instead of `turn`.
        turn = row.turn or (ServedTurn() if row.messages else None)
        served = Served(row.prompt_token_ids, row.rejected.token_ids or [], turn)
        return demonstration_ids(tokenizer, ends, text, served)

    return render
