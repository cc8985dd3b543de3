"""Read the better answers of pairs, for supervised fine-tuning."""

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TypedDict

from retrain.trainer.examples.data import Render, answer_ids, read_pairs
from retrain.trainer.examples.fit import fit
from retrain.trainer.examples.prepared import Bounds, Prepared, check_vocabulary
from retrain.trainer.examples.rows import PairRow
from retrain.trainer.examples.tokenizer import RenderingError


class ShownExample(TypedDict):
    """One answer to imitate: prompt and answer as one list, and a mask that is 1 on the answer."""

    input_ids: list[int]
    completion_mask: list[int]
    weight: float


def prepare_demonstrations(
    path: Path, signals: AbstractSet[str], render: Render, bounds: Bounds
) -> Prepared[ShownExample]:
    """Read the chosen answers of the pairs with one of the signals.

    Raises:
        JobError: The file is malformed, or has token ids outside the vocabulary.
        TooFewPairsError: Fewer than the minimum are left.

    """
    prepared = Prepared[ShownExample]()
    for row in read_pairs(path):
        if row.signal not in signals:
            continue
        try:
            answer = answer_ids(row, row.chosen, render)
        except RenderingError as error:
            prepared.dropped[error.reason] += 1
            continue
        check_vocabulary(row.id, [*row.prompt_token_ids, *answer], bounds.vocabulary)
        found = fit(row.prompt_token_ids, answer, None, row.weight, bounds.max_length)
        prepared.take(_shown(row, answer), found, row.signal)
    prepared.require(bounds, "demonstrations")
    return prepared


def _shown(row: PairRow, answer: list[int]) -> ShownExample:
    prompt = row.prompt_token_ids
    return ShownExample(
        input_ids=[*prompt, *answer],
        completion_mask=[0] * len(prompt) + [1] * len(answer),
        weight=row.weight,
    )
