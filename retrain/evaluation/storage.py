"""Store an evaluation: `evaluation.jsonl` has a line per question, `evaluation.json` the rest.

The latter is written last; without it the evaluation is incomplete.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from common.files import FileRecord, LineWriter, matches, write_whole
from retrain.dataset.questions import HeldOutPrompt
from retrain.errors import SnapshotError
from retrain.evaluation.result import AnswersByArm, Evaluation, Row, SuiteResult

ROWS, SUMMARY = "evaluation.jsonl", "evaluation.json"
FORMAT = 2
"""Version of the format. Since 2, rows contain tool calls; older evaluations are repeated."""


class JudgedRow(Row):
    """One evaluated question with its conversation."""

    messages: list[Mapping[str, Any]]


class _Summary(BaseModel):
    """An evaluation without its rows."""

    model_config = ConfigDict(frozen=True)

    format: Literal[2]
    arms: AnswersByArm
    asked: int
    failed: dict[str, int]
    suite: SuiteResult | None
    judged: bool = True
    rows: FileRecord


def write_evaluation(
    folder: Path, evaluation: Evaluation, prompts: Sequence[HeldOutPrompt]
) -> None:
    """Write an evaluation to the run's folder, replacing an earlier one."""
    asked = {prompt.interaction_id: prompt.request["messages"] for prompt in prompts}
    for name in (SUMMARY, ROWS):
        (folder / name).unlink(missing_ok=True)
    with closing(LineWriter(folder / ROWS)) as writer:
        for row in evaluation.rows:
            judged = JudgedRow(**dict(row), messages=asked[row.prompt_id])
            writer.write(judged.model_dump_json().encode())
    about = evaluation.model_dump(include={"arms", "asked", "failed", "suite", "judged"})
    summary = _Summary.model_validate({**about, "format": FORMAT, "rows": writer.close()})
    write_whole(folder / SUMMARY, summary.model_dump_json(indent=2).encode())


def has_evaluation(folder: Path) -> bool:
    """Return whether the folder has a complete evaluation in the current format."""
    try:
        _Summary.model_validate_json((folder / SUMMARY).read_bytes())
    except (FileNotFoundError, ValidationError):
        return False
    return True


def read_evaluation(folder: Path) -> Evaluation:
    """Read the evaluation. Raises `SnapshotError` if it is missing or was changed."""
    try:
        summary = _Summary.model_validate_json((folder / SUMMARY).read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise SnapshotError("the run has no evaluation: start another run") from error
    if not matches(folder / ROWS, summary.rows):
        raise SnapshotError("the run's evaluation was changed: start another run")
    rows: list[Row] = list(read_rows(folder))
    return Evaluation(
        arms=summary.arms,
        asked=summary.asked,
        rows=rows,
        failed=summary.failed,
        suite=summary.suite,
        judged=summary.judged,
    )


def read_rows(folder: Path) -> Iterator[JudgedRow]:
    """Yield the evaluated questions; none if there is no evaluation."""
    try:
        lines = (folder / ROWS).open("rb")
    except FileNotFoundError:
        return
    with lines:
        for line in lines:
            yield JudgedRow.model_validate_json(line)
