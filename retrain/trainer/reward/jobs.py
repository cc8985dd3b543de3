"""The job files of a reward model: to train one, and to score answers. Importable without torch."""

from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from retrain.config import HyperParameters, Positive
from retrain.trainer.errors import JobError
from retrain.trainer.examples.rows import TokenId

Job = TypeVar("Job", bound=BaseModel)

MODEL_WEIGHTS = "adapter_model.safetensors"


class RewardJob(BaseModel):
    """Train a reward model on comparisons and rated answers.

    `hyper` holds the sizes, precision and rates; what only DPO reads is ignored. `base_digest` is
    written into the record, so that the model is only used on the same base.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["reward"] = "reward"
    base_model: str = Field(min_length=1)
    base_digest: str
    pairs: Path = Field(description="JSON lines of `retrain.trainer.examples.rows.PairRow`")
    labels: Path = Field(description="JSON lines of `retrain.trainer.examples.rows.LabelRow`")
    minimum: Positive = Field(1, description="least number of usable comparisons and labels")
    output: Path = Field(description="folder to create for the model; must not exist")
    events: Path | None = Field(
        None, description="file that events are appended to; None: standard output"
    )
    chat_template: str | None = Field(
        None, description="a file or a template; None: the tokenizer's own"
    )
    seed: int = Field(0, ge=0, lt=2**32)
    parent_pid: int | None = Field(None, gt=1, description="see `Job.parent_pid`")
    head_learning_rate: float = Field(gt=0)
    label_weight: float = Field(1.0, ge=0, description="weight of a label; a comparison has 1")
    hyper: HyperParameters = Field(default_factory=HyperParameters)

    def resolved(self, folder: Path) -> Self:
        """Return the job with its relative paths resolved against `folder`."""
        return _resolved(self, folder, ("pairs", "labels", "output", "events"))

    def check_files(self) -> None:
        """Raise `JobError` if a file is missing or the output exists."""
        _require_file("pairs", self.pairs)
        _require_file("labels", self.labels)
        _require_new(self.output)


class ScoreJob(BaseModel):
    """Score answers with a reward model. The output has one number per row, one a line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["score"] = "score"
    base_model: str = Field(min_length=1)
    base_digest: str = Field(description="that of the base model now; must equal the record's")
    model: Path = Field(description="folder of the reward model")
    rows: Path = Field(description="JSON lines of `AnswerRow`")
    output: Path = Field(description="file to create for the scores; must not exist")
    events: Path | None = None
    parent_pid: int | None = Field(None, gt=1, description="see `Job.parent_pid`")
    per_device_batch: Positive = 8
    threads: Positive | None = None

    def resolved(self, folder: Path) -> Self:
        """Return the job with its relative paths resolved against `folder`."""
        return _resolved(self, folder, ("model", "rows", "output", "events"))

    def check_files(self) -> None:
        """Raise `JobError` if a file is missing or the output exists."""
        _require_file("rows", self.rows)
        _require_file("model", self.model / MODEL_WEIGHTS)
        _require_new(self.output)


class AnswerRow(BaseModel):
    """One answer to score: the token ids of its prompt and its own, as they were served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_token_ids: list[TokenId] = Field(min_length=1)
    token_ids: list[TokenId]


def _resolved(job: Job, folder: Path, names: tuple[str, ...]) -> Job:
    paths = {name: getattr(job, name) for name in names}
    update = {name: folder / path for name, path in paths.items() if path is not None}
    return job.model_copy(update=update)


def _require_file(field: str, path: Path) -> None:
    if not path.is_file():
        raise JobError(f"{field}: there is no file {path}")


def _require_new(path: Path) -> None:
    if path.exists():
        raise JobError(f"output: {path} exists already; name a new one")
