"""Where a run keeps its judge: `judge/model` is the reward model, `judge/record.json` its facts."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from common.files import write_whole
from common.frozen_model import FrozenModel
from retrain.errors import JudgeLostError
from retrain.gates.judge_agreement import Agreement

JUDGE, MODEL, RECORD = "judge", "model", "record.json"
VOTE_FILES = ("pairs.jsonl", "labels.jsonl")
"""The merged votes; they are removed once the judge is trained, since they are user text."""
WORK = "work"
"""Folder of jobs in progress: rows to score are user text, too."""


class Ranking(FrozenModel):
    """How well scores rank good answers above bad ones: AUROC, with its 95 % interval.

    `good` and `bad` count the answers, `raters` the people who rated them.
    """

    auroc: float
    low: float
    high: float
    good: int
    bad: int
    raters: int


class JudgeRecord(FrozenModel):
    """What became of a run's judge. Without a model, `reason` says why nothing judges.

    Attributes:
        trained: Whether there is a reward model that may judge.
        reason: Why it may, or why not, in one line.
        base_digest: The fingerprint of the base model that it was trained on.
        sources: Number of votes of each run whose snapshot they come from.
        signals: Number of votes by signal.
        ranking: How well it ranks the answers that held-out people rated; None if they rated none.
        agreement: How far it agrees with their comparisons; None if they made none.
        seconds: Of its training.

    """

    trained: bool
    reason: str
    base_digest: str
    sources: Mapping[str, int] = {}
    signals: Mapping[str, int] = {}
    ranking: Ranking | None = None
    agreement: Agreement | None = None
    seconds: float | None = None


def write_record(folder: Path, record: JudgeRecord) -> None:
    """Write the record of the judge in `folder`; its step is then complete."""
    write_whole(folder / RECORD, record.model_dump_json(indent=2).encode())


def has_record(folder: Path) -> bool:
    """Return whether the judge's step is complete, with or without a model."""
    return (folder / RECORD).is_file()


def read_record(folder: Path) -> JudgeRecord:
    """Read the record. Raises `JudgeLostError` if it is missing or damaged."""
    try:
        return JudgeRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError) as error:
        raise JudgeLostError("the run has no judge: start another run") from error
