"""The job file: input, output and hyper-parameters of a training run. Importable without torch.

A job has stages, each with a method and its rows; a job of the previous release has pairs instead,
which are one stage of DPO. Relative paths are resolved against the job file's folder, so that the
folder can be moved.
"""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retrain.config import HyperParameters, Method, Positive
from retrain.trainer.errors import JobError


class AdaptedModule(BaseModel):
    """One module's entries in PEFT's `rank_pattern` and `alpha_pattern`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: Positive
    alpha: float


class TrainingStage(BaseModel):
    """One method on its rows. A stage starts from the adapter that the stage before it left.

    `hyper` holds the values of the method: with KTO, its `beta`, `learning_rate` and `epochs` are
    those of KTO, and what only DPO reads is unused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method
    file: Path = Field(
        description="JSON lines: `LabelRow` for kto, else `PairRow` (both in "
        "`retrain.trainer.examples.rows`)"
    )
    pairs: Path | None = Field(
        None, description="kto: pairs whose answers are labels as well, the chosen ones good"
    )
    signals: frozenset[str] = Field(
        frozenset({"demonstration"}), description="sft: pairs whose chosen answers are trained on"
    )
    minimum: Positive = Field(1, description="least number of usable rows")
    desirable_weight: float | None = Field(None, gt=0, description="kto; None: from the counts")
    undesirable_weight: float | None = Field(None, gt=0, description="kto; None: from the counts")
    hyper: HyperParameters = Field(default_factory=HyperParameters)

    @model_validator(mode="after")
    def _has_room_for_two(self) -> Self:
        if self.method == "kto" and self.hyper.per_device_batch < LEAST_BATCH["kto"]:
            raise ValueError("kto compares the answers of a batch: per_device_batch is at least 2")
        return self

    def resolved(self, folder: Path) -> Self:
        """Return the stage with its relative paths resolved against `folder`."""
        pairs = None if self.pairs is None else folder / self.pairs
        return self.model_copy(update={"file": folder / self.file, "pairs": pairs})


LEAST_BATCH: dict[Method, int] = {"sft": 1, "dpo": 1, "orpo": 1, "kto": 2}
"""Rows per forward pass that a method needs at least."""


class Job(BaseModel):
    """One training run. `base_model` is a folder or a hub id; the adapter's config names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: str = Field(min_length=1)
    warm_start: Path | None = Field(
        None, description="folder of the live adapter; None: train a new adapter"
    )
    warm_start_modules: dict[str, AdaptedModule] | None = Field(
        None,
        description="the live adapter's modules by name. They replace the regular expressions in "
        "its config, which PEFT would match without a time limit. None: the config has only names",
    )
    stages: tuple[TrainingStage, ...] = Field((), description="what is trained, in this order")
    pairs: Path | None = Field(None, description="in place of stages: pairs for one stage of DPO")
    minimum_pairs: Positive = Field(1, description="least number of usable `pairs`")
    output: Path = Field(description="folder to create for the adapter; must not exist")
    events: Path | None = Field(
        None, description="file that events are appended to; None: standard output"
    )
    tensorboard: Path | None = None
    chat_template: str | None = Field(
        None, description="a file or a template; None: the tokenizer's own"
    )
    served_modules: frozenset[str] | None = Field(
        None, description="modules that the engine accepts in an adapter; None: unknown"
    )
    seed: int = Field(0, ge=0, lt=2**32)
    parent_pid: int | None = Field(
        None,
        gt=1,
        description="an ancestor process; the trainer is killed when it dies, and so is the "
        "trainer's process group unless the ancestor is in it",
    )
    hyper: HyperParameters = Field(
        default_factory=HyperParameters, description="what all stages share; DPO's with `pairs`"
    )

    @model_validator(mode="after")
    def _has_something_to_train_on(self) -> Self:
        if (self.pairs is None) == (not self.stages):
            raise ValueError("give either stages or pairs")
        return self

    @property
    def planned(self) -> tuple[TrainingStage, ...]:
        """The stages, also of a job that has pairs."""
        if self.pairs is None:
            return self.stages
        only = TrainingStage(
            method="dpo", file=self.pairs, minimum=self.minimum_pairs, hyper=self.hyper
        )
        return (only,)

    def resolved(self, folder: Path) -> Self:
        """Return the job with its relative paths resolved against `folder`."""
        fields = ("warm_start", "pairs", "output", "events", "tensorboard")
        paths = {name: getattr(self, name) for name in fields}
        absolute = {name: folder / path for name, path in paths.items() if path is not None}
        stages = tuple(stage.resolved(folder) for stage in self.stages)
        return self.model_copy(update={**absolute, "stages": stages})


def read_job(path: Path) -> Job:
    """Read and check a job file.

    Raises `JobError` if it cannot be read, a field is invalid, or a file that it names is missing.
    """
    try:
        job = Job.model_validate_json(path.read_bytes()).resolved(path.absolute().parent)
    except OSError as error:
        raise JobError(f"cannot read the job file {path}: {error.strerror}") from error
    except ValidationError as error:
        raise JobError(f"the job file {path} is not valid: {problems(error)}") from None
    _check_files(job)
    return job


def problems(error: ValidationError) -> str:
    """Return the invalid fields of a job file, without their values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'file'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )


def _check_files(job: Job) -> None:
    for stage in job.planned:
        for path in (stage.file, stage.pairs):
            if path is not None and not path.is_file():
                raise JobError(f"pairs: there is no file {path} for {stage.method}")
    if job.output.exists():
        raise JobError(
            f"output: {job.output} exists already; a version never changes, name a new one"
        )
    if job.warm_start is not None and not (job.warm_start / "adapter_model.safetensors").is_file():
        raise JobError(f"warm_start: there is no adapter_model.safetensors in {job.warm_start}")
