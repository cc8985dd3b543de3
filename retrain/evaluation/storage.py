"""An evaluation on disk: `evaluation.jsonl`, a line a question, and `evaluation.json` about it.

The latter is written last: without it there is no result.
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
"""2: rows hold tool calls. An evaluation without them cannot be decided on, and is done again."""


class JudgedRow(Row):
    """One question with the conversation that was asked."""

    messages: list[Mapping[str, Any]]


class _Summary(BaseModel):
    """All of an evaluation but its rows."""

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
    """Put an evaluation into the run's folder, replacing an earlier one."""
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
    """Whether there is an evaluation of this release's form to decide on."""
    try:
        _Summary.model_validate_json((folder / SUMMARY).read_bytes())
    except (FileNotFoundError, ValidationError):
        return False
    return True


def read_evaluation(folder: Path) -> Evaluation:
    """The whole evaluation. Raises `SnapshotError` where it is missing or was changed."""
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
    """The questions one after the other; none where nothing was evaluated."""
    try:
        lines = (folder / ROWS).open("rb")
    except FileNotFoundError:
        return
    with lines:
        for line in lines:
            yield JudgedRow.model_validate_json(line)
