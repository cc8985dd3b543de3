"""The job file: input, output and hyper-parameters of a training run. Importable without torch.

Relative paths are resolved against the job file's folder, so that the folder can be moved.
"""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrain.config import HyperParameters, Positive
from retrain.trainer.errors import JobError


class AdaptedModule(BaseModel):
    """One module's entries in PEFT's `rank_pattern` and `alpha_pattern`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: Positive
    alpha: float


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
    pairs: Path = Field(description="JSON lines of `retrain.trainer.examples.rows.PairRow`")
    minimum_pairs: Positive = Field(
        1, description="least number of usable pairs; with fewer nothing is trained"
    )
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
    hyper: HyperParameters = Field(default_factory=HyperParameters)

    def resolved(self, folder: Path) -> Self:
        """Return the job with its relative paths resolved against `folder`."""
        fields = ("warm_start", "pairs", "output", "events", "tensorboard")
        paths = {name: getattr(self, name) for name in fields}
        return self.model_copy(
            update={name: folder / path for name, path in paths.items() if path is not None}
        )


def read_job(path: Path) -> Job:
    """Read and check a job file.

    Raises `JobError` if it cannot be read, a field is invalid, or a file that it names is missing.
    """
    try:
        job = Job.model_validate_json(path.read_bytes()).resolved(path.absolute().parent)
    except OSError as error:
        raise JobError(f"cannot read the job file {path}: {error.strerror}") from error
    except ValidationError as error:
        raise JobError(f"the job file {path} is not valid: {_problems(error)}") from None
    _check_files(job)
    return job


def _problems(error: ValidationError) -> str:
    """List the invalid fields, without their values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'file'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )


def _check_files(job: Job) -> None:
    if not job.pairs.is_file():
        raise JobError(f"pairs: there is no file {job.pairs}")
    if job.output.exists():
        raise JobError(
            f"output: {job.output} exists already; a version never changes, name a new one"
        )
    if job.warm_start is not None and not (job.warm_start / "adapter_model.safetensors").is_file():
        raise JobError(f"warm_start: there is no adapter_model.safetensors in {job.warm_start}")
