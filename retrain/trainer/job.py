"""The job file: what to train, from where, to where. Importable without torch.

Relative paths are taken from the job file's folder, so that a job can be moved as a whole.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retrain.trainer.errors import JobError

LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
"""TRL 1.16's DPO losses, without `aot` and `aot_unpaired`: those sort scores across the batch, so a
pair has no loss of its own that its weight could scale."""

SMOOTHED_LOSSES = frozenset({"robust", "exo_pair"})
"""The losses that honour `label_smoothing`; every other one ignores it in silence."""

Positive = Annotated[int, Field(gt=0)]


class HyperParameters(BaseModel):
    """Every hyper-parameter of a run; the defaults suit a 7-8B model on one GPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lora_rank: Positive = Field(16, description="ignored on a warm start, which keeps live's shape")
    lora_alpha: Positive = 32
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_target_modules: Literal["all-linear"] | list[str] = "all-linear"

    loss_type: list[LossType] = Field(
        ["sigmoid", "sft"],
        min_length=1,
        description="added up; without the sft term small models drift",
    )
    loss_weights: list[float] = [1.0, 0.2]
    beta: float = Field(0.1, gt=0, description="higher stays closer to the reference")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="assumed share of flipped labels (robust, exo_pair)"
    )

    learning_rate: float = Field(1e-5, gt=0, description="5e-6 to 5e-5 for a real model")
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup_steps: int = Field(3, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    optimizer: str = Field(
        "auto", description="a transformers name; auto: paged_adamw_8bit on CUDA, else adamw_torch"
    )

    per_device_batch: Positive = 4
    gradient_accumulation: Positive = 8
    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, gt=0, description="stops earlier than `epochs` says")
    max_length: int = Field(4096, gt=1, description="longer pairs are dropped and counted")

    quantization: Literal["none", "nf4"] = Field("none", description="nf4 is QLoRA")
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    gradient_checkpointing: bool | None = Field(None, description="None: on the GPU only")
    precompute_ref_log_probs: bool = True
    threads: Positive | None = Field(None, description="CPU threads; None leaves torch's own")
    logging_steps: Positive = 1

    @model_validator(mode="after")
    def _losses_agree(self) -> Self:
        if len(self.loss_weights) != len(self.loss_type):
            raise ValueError("loss_weights needs one weight for each entry of loss_type")
        ignoring = set(self.loss_type) - SMOOTHED_LOSSES - {"sft"}
        if self.label_smoothing and (ignoring or not SMOOTHED_LOSSES & set(self.loss_type)):
            names = ", ".join(sorted(ignoring or set(self.loss_type)))
            raise ValueError(
                f"label_smoothing is silently ignored by {names}; "
                "use robust or exo_pair, or set it to 0"
            )
        if "exo_pair" in self.loss_type and not self.label_smoothing:
            raise ValueError("exo_pair needs label_smoothing above 0 (its paper takes 1e-3)")
        return self

    @model_validator(mode="after")
    def _lora_is_trainable(self) -> Self:
        if self.lora_dropout and not self.precompute_ref_log_probs:
            raise ValueError(
                "lora_dropout would also drop out the reference; "
                "set precompute_ref_log_probs to true"
            )
        if "lm_head" in self.lora_target_modules:
            raise ValueError("an adapter on lm_head is never trained; leave it out")
        return self


class Job(BaseModel):
    """One training run. `base_model` is a folder or a hub id, and is what the adapter will name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: str = Field(min_length=1)
    warm_start: Path | None = Field(None, description="the live adapter's folder; None: fresh LoRA")
    pairs: Path = Field(description="JSON lines, see `retrain.trainer.rows`")
    output: Path = Field(description="the adapter's folder; must not exist")
    events: Path | None = Field(None, description="appended to; None: standard output")
    tensorboard: Path | None = None
    chat_template: str | None = Field(
        None, description="a file or a template, where serving does not use the tokenizer's own"
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
