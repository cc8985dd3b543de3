"""The job file: what to train, from where, to where. Importable without torch.

Relative paths are taken from the job file's folder, so that a job can be moved as a whole.
"""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrain.config import HyperParameters, Positive
from retrain.trainer.errors import JobError


class AdaptedModule(BaseModel):
    """What PEFT's `rank_pattern` and `alpha_pattern` say of one module."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: Positive
    alpha: float


class Job(BaseModel):
    """One training run. `base_model` is a folder or a hub id, and is what the adapter will name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: str = Field(min_length=1)
    warm_start: Path | None = Field(None, description="the live adapter's folder; None: fresh LoRA")
    warm_start_modules: dict[str, AdaptedModule] | None = Field(
        None,
        description="the live adapter's modules, in place of the regular expressions of its "
        "config, which PEFT would match without a bound; None: the config names them plainly",
    )
    pairs: Path = Field(description="JSON lines, see `retrain.trainer.rows`")
    minimum_pairs: Positive = Field(1, description="with fewer pairs that fit nothing is trained")
    output: Path = Field(description="the adapter's folder; must not exist")
    events: Path | None = Field(None, description="appended to; None: standard output")
    tensorboard: Path | None = None
    chat_template: str | None = Field(
        None, description="a file or a template, where serving does not use the tokenizer's own"
    )
    served_modules: frozenset[str] | None = Field(
        None, description="modules that the server accepts in an adapter; None: not known"
    )
    seed: int = Field(0, ge=0, lt=2**32)
    parent_pid: int | None = Field(
        None,
        gt=1,
        description="die with this process: the parent (and its starting thread), or above; "
        "so does the trainer's process group, where the parent is of another",
    )
    hyper: HyperParameters = Field(default_factory=HyperParameters)

    def resolved(self, folder: Path) -> Self:
        """Return the job with its relative paths taken from `folder`."""
        fields = ("warm_start", "pairs", "output", "events", "tensorboard")
        paths = {name: getattr(self, name) for name in fields}
        return self.model_copy(
            update={name: folder / path for name, path in paths.items() if path is not None}
        )


def read_job(path: Path) -> Job:
    """Read and check a job file.

    Raises `JobError` where it cannot be read or a field is wrong, or its files are not there.
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
    """List the fields that are wrong, without their values."""
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
