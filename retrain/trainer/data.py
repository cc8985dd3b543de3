"""From the pairs file to token ids.

Ids that were served are passed on as they are; a pair that does not fit is dropped and counted,
never cut.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from pydantic import ValidationError

from retrain.trainer.errors import JobError
from retrain.trainer.rendering import RenderingError
from retrain.trainer.rows import CompletionRow, PairRow

Render = Callable[[str, PairRow], list[int]]
"""Gives the ids of a text that answers the row's prompt; raises `RenderingError`."""


class Example(TypedDict):
    """One pair as the trainer is fed it."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    weight: float


@dataclass(slots=True)
class Prepared:
    """The pairs to train on, in the file's order, and what became of the others."""

    examples: list[Example] = field(default_factory=list)
    signals: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


def read_pairs(path: Path) -> Iterator[PairRow]:
    """Stream the rows of a pairs file. Raises `JobError` naming the line and the field."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield PairRow.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                place = ".".join(str(part) for part in problem["loc"]) or "line"
                # Not chained, and without pydantic's message: both may quote what people wrote.
                raise JobError(
                    f"pairs: line {number} is not a pair, {place}: {problem['type']}"
                ) from None


def prepare(path: Path, render: Render, *, max_length: int, vocabulary: int) -> Prepared:
    """Read the pairs and turn them into examples of at most `max_length` tokens each.

    `vocabulary` is the number of rows in the model's embedding. Raises `JobError` on a broken file,
    on ids that are not the model's, and when nothing is left to train on.
    """
    prepared = Prepared()
    for row in read_pairs(path):
        try:
            example = _example(row, render)
        except RenderingError as error:
            prepared.dropped[error.reason] += 1
            continue
        _check_vocabulary(row.id, example, vocabulary)
        if reason := unfit(example, max_length):
            prepared.dropped[reason] += 1
        else:
            prepared.examples.append(example)
            prepared.signals[row.signal] += 1
    if not prepared.examples:
        raise JobError(f"pairs: nothing to train on; dropped by reason: {dict(prepared.dropped)}")
    return prepared


def unfit(example: Example, max_length: int) -> str | None:
    """Say why an example cannot be trained on, or None where it can."""
    chosen, rejected = example["chosen_ids"], example["rejected_ids"]
    longest = len(example["prompt_ids"]) + max(len(chosen), len(rejected))
    if not chosen or not rejected:
        return "empty"
    if chosen == rejected:
        return "identical"
    if not example["weight"]:
        return "weightless"
    return "too_long" if longest > max_length else None


def _example(row: PairRow, render: Render) -> Example:
    def ids(completion: CompletionRow) -> list[int]:
        if completion.token_ids is not None:
            return completion.token_ids
        return render(completion.text or "", row)

    return Example(
        prompt_ids=row.prompt_token_ids,
        chosen_ids=ids(row.chosen),
        rejected_ids=ids(row.rejected),
        weight=row.weight,
    )


def _check_vocabulary(row_id: str, example: Example, vocabulary: int) -> None:
    highest = max(*example["prompt_ids"], *example["chosen_ids"], *example["rejected_ids"])
    if highest >= vocabulary:
        raise JobError(
            f"pairs: {row_id} holds token id {highest}, the model has {vocabulary}; "
            "these pairs were served by another base model"
        )
