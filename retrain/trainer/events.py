"""Events that the trainer reports to its caller, as JSON lines. Importable without torch.

The caller reads them with `parse_event`. Events contain no user text.
"""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from retrain.config import HyperParameters, Method


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    time: AwareDatetime | None = Field(None, description="set by the writer")


class _StageEvent(_Event):
    stage: int = Field(1, description="number of the stage, from 1")
    method: Method = "dpo"


class Started(_StageEvent):
    """A stage's rows have been read; the model is loaded next."""

    event: Literal["started"] = "started"
    stages: int = Field(1, description="number of stages of the run")
    versions: dict[str, str]
    device: str
    precision: str
    pairs: int = Field(description="rows to train on: pairs, labels or demonstrations")
    signals: dict[str, int] = Field(description="rows to train on, by signal")
    warm_start: bool
    hyper: HyperParameters


class Dropped(_StageEvent):
    """Number of a stage's rows that are not trained on, by reason."""

    event: Literal["dropped"] = "dropped"
    reasons: dict[str, int]


class LeftOut(_StageEvent):
    """A stage has too few usable rows and is left out; others are trained."""

    event: Literal["left_out"] = "left_out"
    reason: str


class Reference(_StageEvent):
    """The reference equals the initial policy: `max_reward` is the largest |reward| found.

    Methods without a reference have no `max_reward`.
    """

    event: Literal["reference"] = "reference"
    max_reward: float | None
    adapter: Literal["base", "live"]
    lora_rank: int
    lora_alpha: float


class Step(_StageEvent):
    """One optimizer step of a stage, or the mean over `logging_steps` steps.

    `loss` is the unweighted mean over the batch; weights only scale the gradient. A figure that the
    method does not have is None: `reward_accuracy` is DPO's, `reward_margin` also KTO's (mean
    reward of good answers minus that of bad ones; None where the batches had one kind only), `kl`
    is KTO's, `log_odds_ratio` ORPO's, and `token_accuracy` SFT's.
    """

    event: Literal["step"] = "step"
    step: int
    of: int
    loss: float
    reward_margin: float | None = None
    reward_accuracy: float | None = None
    kl: float | None = None
    log_odds_ratio: float | None = None
    token_accuracy: float | None = None
    learning_rate: float
    grad_norm: float
    tokens: int


class BatchHalved(_StageEvent):
    """Memory ran out; training restarts with half the batch and twice the accumulation."""

    event: Literal["batch_halved"] = "batch_halved"
    per_device_batch: int
    gradient_accumulation: int


class Saved(_Event):
    """The adapter is complete and synced to disk."""

    event: Literal["saved"] = "saved"
    folder: str
    sha256: str = Field(description="of adapter_model.safetensors")
    seconds: float


class Failed(_Event):
    """The run ended without an adapter."""

    event: Literal["failed"] = "failed"
    reason: str = Field(description="the error's class")
    message: str = Field(description="what to do")
    exit_code: int


Event = Started | Dropped | LeftOut | Reference | Step | BatchHalved | Saved | Failed
_PARSER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: str | bytes) -> Event:
    """Parse one event line. Raises `pydantic.ValidationError` if it is not an event."""
    return _PARSER.validate_json(line)


class EventWriter:
    """Writes events to a file descriptor, each with one system call.

    Writes are unbuffered, so that a signal handler can write as well and a killed trainer leaves
    complete lines.
    """

    def __init__(self, descriptor: int, clock: Callable[[], datetime]) -> None:
        self._descriptor = descriptor
        self._clock = clock

    def write(self, event: Event) -> None:
        """Add the time and write the event as a line. Raises `OSError` if the reader is gone."""
        line = event.model_copy(update={"time": self._clock()}).model_dump_json() + "\n"
        remaining = memoryview(line.encode())
        while remaining:
            remaining = remaining[os.write(self._descriptor, remaining) :]


def open_events(path: Path) -> int:
    """Open an event file for appending; returns the descriptor. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
