"""Read the pairs file and convert its rows to token ids.

Sampled answers keep their token ids. Pairs that do not fit are dropped and counted, never cut.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TypedDict

from pydantic import ValidationError

from retrain.trainer.errors import JobError, TooFewPairsError
from retrain.trainer.examples.fit import Fit, Misfit, fit, too_few
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


@dataclass(slots=True)
class Prepared:
    """The pairs to train on, in the file's order.

    Attributes:
        examples: The pairs.
        signals: Number of pairs by signal.
        dropped: Number of dropped pairs by reason.
        longest: Tokens of the longest pair that was dropped as `too_long`, else 0.

    """

    examples: list[Example] = field(default_factory=list)
    signals: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    longest: int = 0


def read_pairs(path: Path) -> Iterator[PairRow]:
    """Yield the rows of a pairs file. Raises `JobError` that names the line and the field."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield PairRow.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                place = ".".join(str(part) for part in problem["loc"]) or "line"
                # Not chained, and without pydantic's message: both may quote user text.
                raise JobError(
                    f"pairs: line {number} is not a pair, {place}: {problem['type']}"
                ) from None


def prepare(
    path: Path, render: Render, *, max_length: int, vocabulary: int, minimum: int = 1
) -> Prepared:
    """Read the pairs and convert them to examples.

    Args:
        path: The pairs file, JSON lines of `PairRow`.
        render: Tokenizes demonstrations.
        max_length: Tokens of a prompt and its longer answer, at most.
        vocabulary: Number of rows of the model's embedding.
        minimum: Least number of examples.

    Raises:
        JobError: The file is malformed, or has token ids outside the vocabulary.
        TooFewPairsError: Fewer than `minimum` examples are left.

    """
    prepared = Prepared()
    for row in read_pairs(path):
        try:
            example = _example(row, render)
        except RenderingError as error:
            prepared.dropped[error.reason] += 1
            continue
        _check_vocabulary(row.id, example, vocabulary)
        _take(prepared, example, row.signal, max_length)
    if len(prepared.examples) < minimum:
        raise TooFewPairsError(
            too_few(len(prepared.examples), minimum, prepared.dropped, max_length, prepared.longest)
        )
    return prepared


def _take(prepared: Prepared, example: Example, signal: str, max_length: int) -> None:
    """Keep an example that fits; count one that does not."""
    found = _fit(example, max_length)
    if found.misfit is None:
        prepared.examples.append(example)
        prepared.signals[signal] += 1
        return
    prepared.dropped[found.misfit] += 1
    if found.misfit == "too_long":
        prepared.longest = max(prepared.longest, found.length)


def unfit(example: Example, max_length: int) -> Misfit | None:
    """Return why an example cannot be trained on, or None if it can."""
    return _fit(example, max_length).misfit


def _fit(example: Example, max_length: int) -> Fit:
    ids = (example["prompt_ids"], example["chosen_ids"], example["rejected_ids"])
    return fit(*ids, example["weight"], max_length)


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
    ids = chain(example["prompt_ids"], example["chosen_ids"], example["rejected_ids"])
    highest = max(ids, default=0)
    if highest >= vocabulary:
        raise JobError(
            f"pairs: {row_id} holds token id {highest}, the model has {vocabulary}; "
            "these pairs were served by another base model"
        )
