"""What a stage trains on, once its file was read: examples that fit, and counts of the rest."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from retrain.trainer.errors import JobError, TooFewPairsError
from retrain.trainer.examples.fit import Fit, too_few

ExampleT = TypeVar("ExampleT")
RowT = TypeVar("RowT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an example must satisfy, and how many there must be.

    Attributes:
        max_length: Tokens of a prompt and its longest answer, at most.
        vocabulary: Number of rows of the model's embedding.
        minimum: Least number of examples.

    """

    max_length: int
    vocabulary: int
    minimum: int = 1


@dataclass(slots=True)
class Prepared(Generic[ExampleT]):
    """The examples to train on, in the file's order.

    Attributes:
        examples: The examples.
        signals: Number of examples by signal.
        dropped: Number of dropped rows by reason.
        longest: Tokens of the longest row that was dropped as `too_long`, else 0.

    """

    examples: list[ExampleT] = field(default_factory=list)
    signals: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    longest: int = 0

    def take(self, example: ExampleT, found: Fit, signal: str) -> None:
        """Keep an example that fits; count one that does not."""
        if found.misfit is None:
            self.examples.append(example)
            self.signals[signal] += 1
            return
        self.dropped[found.misfit] += 1
        if found.misfit == "too_long":
            self.longest = max(self.longest, found.length)

    def require(self, bounds: Bounds, what: str) -> None:
        """Raise `TooFewPairsError` if there are fewer examples than the minimum."""
        kept = len(self.examples)
        if kept < bounds.minimum:
            counts = (self.dropped, bounds.max_length, self.longest)
            raise TooFewPairsError(too_few(kept, bounds.minimum, *counts, what=what))


def read_rows(path: Path, kind: type[RowT], what: str) -> Iterator[RowT]:
    """Yield the rows of a file of JSON lines. Raises `JobError` that names the line and the field.

    Args:
        path: The file.
        kind: The class of its rows.
        what: What a row is, for the message: `a pair`.

    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                place = ".".join(str(part) for part in problem["loc"]) or "line"
                # Not chained, and without pydantic's message: both may quote user text.
                raise JobError(
                    f"pairs: line {number} is not {what}, {place}: {problem['type']}"
                ) from None


def check_vocabulary(row_id: str, ids: Iterable[int], vocabulary: int) -> None:
    """Raise `JobError` if an id is none of the model's."""
    highest = max(ids, default=0)
    if highest >= vocabulary:
        raise JobError(
            f"pairs: {row_id} holds token id {highest}, the model has {vocabulary}; "
            "these rows were served by another base model"
        )
