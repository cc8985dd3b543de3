"""Read the pairs file and convert its rows to token ids.

Sampled answers keep their token ids. Pairs that do not fit are dropped and counted, never cut.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypedDict

from retrain.trainer.examples.fit import Fit, Misfit, fit
from retrain.trainer.examples.prepared import Bounds, Prepared, check_vocabulary, read_rows
from retrain.trainer.examples.rows import CompletionRow, PairRow
from retrain.trainer.examples.tokenizer import RenderingError

Render = Callable[[str, PairRow], list[int]]
"""Returns the token ids of a text as the answer to a row's prompt; raises `RenderingError`."""


class Example(TypedDict):
    """One pair, as the trainer's dataset holds it: lists of token ids, without padding."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    weight: float


def read_pairs(path: Path) -> Iterator[PairRow]:
    """Yield the rows of a pairs file. Raises `JobError` that names the line and the field."""
    yield from read_rows(path, PairRow, "a pair")


def prepare(path: Path, render: Render, bounds: Bounds) -> Prepared[Example]:
    """Read the pairs and convert them to examples.

    Args:
        path: The pairs file, JSON lines of `PairRow`.
        render: Tokenizes demonstrations.
        bounds: What the pairs must satisfy.

    Raises:
        JobError: The file is malformed, or has token ids outside the vocabulary.
        TooFewPairsError: Fewer than the minimum are left.

    """
    prepared = Prepared[Example]()
    for row in read_pairs(path):
        try:
            example = _example(row, render)
        except RenderingError as error:
            prepared.dropped[error.reason] += 1
            continue
        ids = chain(example["prompt_ids"], example["chosen_ids"], example["rejected_ids"])
        check_vocabulary(row.id, ids, bounds.vocabulary)
        prepared.take(example, _fit(example, bounds.max_length), row.signal)
    prepared.require(bounds, "pairs")
    return prepared


def unfit(example: Example, max_length: int) -> Misfit | None:
    """Return why an example cannot be trained on, or None if it can."""
    return _fit(example, max_length).misfit


def _fit(example: Example, max_length: int) -> Fit:
    ids = (example["prompt_ids"], example["chosen_ids"], example["rejected_ids"])
    return fit(*ids, example["weight"], max_length)


def _example(row: PairRow, render: Render) -> Example:
    return Example(
        prompt_ids=row.prompt_token_ids,
        chosen_ids=answer_ids(row, row.chosen, render),
        rejected_ids=answer_ids(row, row.rejected, render),
        weight=row.weight,
    )


def answer_ids(row: PairRow, completion: CompletionRow, render: Render) -> list[int]:
    """Return the token ids of one of a row's answers. Raises `RenderingError`."""
    if completion.token_ids is not None:
        return completion.token_ids
    return render(completion.text or "", row)
