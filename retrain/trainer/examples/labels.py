"""Read answers that were judged by themselves, and pairs as two such answers each."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.examples.data import Render, answer_ids, read_pairs
from retrain.trainer.examples.fit import fit
from retrain.trainer.examples.prepared import Bounds, Prepared, check_vocabulary, read_rows
from retrain.trainer.examples.rows import LabelRow, PairRow
from retrain.trainer.examples.tokenizer import RenderingError

CUT_OFF = "truncated"
"""Why a good answer is dropped: training towards it would teach the model to stop mid-sentence."""


class LabelExample(TypedDict):
    """One judged answer, as the trainer's dataset holds it."""

    prompt_ids: list[int]
    completion_ids: list[int]
    label: bool
    weight: float


def prepare_labels(
    path: Path, pairs: Path | None, render: Render, bounds: Bounds
) -> Prepared[LabelExample]:
    """Read judged answers as examples.

    Args:
        path: JSON lines of `LabelRow`.
        pairs: JSON lines of `PairRow`, of which the chosen answer is a good one and the rejected
            answer a bad one; None if there are none.
        render: Tokenizes demonstrations.
        bounds: What the answers must satisfy.

    Raises:
        JobError: A file is malformed, or has token ids outside the vocabulary.
        TooFewPairsError: Fewer than the minimum are left, or only good or only bad ones.

    """
    prepared = Prepared[LabelExample]()
    for row in read_rows(path, LabelRow, "a label"):
        if row.label and row.truncated:
            prepared.dropped[CUT_OFF] += 1
        else:
            _take(prepared, row.id, _labelled(row), row.signal, bounds)
    for pair in read_pairs(pairs) if pairs is not None else ():
        for example in _sides(prepared, pair, render):
            _take(prepared, pair.id, example, pair.signal, bounds)
    prepared.require(bounds, "labels")
    _require_both(prepared)
    return prepared


def _labelled(row: LabelRow) -> LabelExample:
    return LabelExample(
        prompt_ids=row.prompt_token_ids,
        completion_ids=row.completion.token_ids or [],
        label=row.label,
        weight=row.weight,
    )


def _sides(
    prepared: Prepared[LabelExample], row: PairRow, render: Render
) -> Iterator[LabelExample]:
    """Yield the answers of a pair that people judged; one that cannot be rendered is counted.

    The other side of a counterpart's pair is a judge's choice, which says that it is better or
    worse, not that it is good or bad.
    """
    for completion, label, side in (
        (row.chosen, True, "chosen"),
        (row.rejected, False, "rejected"),
    ):
        if row.vouched not in ("both", side):
            continue
        try:
            ids = answer_ids(row, completion, render)
        except RenderingError as error:
            prepared.dropped[error.reason] += 1
            continue
        yield LabelExample(
            prompt_ids=row.prompt_token_ids, completion_ids=ids, label=label, weight=row.weight
        )


def _take(
    prepared: Prepared[LabelExample],
    row_id: str,
    example: LabelExample,
    signal: str,
    bounds: Bounds,
) -> None:
    prompt, answer = example["prompt_ids"], example["completion_ids"]
    check_vocabulary(row_id, [*prompt, *answer], bounds.vocabulary)
    found = fit(prompt, answer, None, example["weight"], bounds.max_length)
    prepared.take(example, found, signal)


def _require_both(prepared: Prepared[LabelExample]) -> None:
    kinds = {example["label"] for example in prepared.examples}
    if len(kinds) == 1:
        kind = "good" if kinds == {True} else "bad"
        raise TooFewPairsError(f"all labels that fit are {kind}: kto needs both good and bad ones")
