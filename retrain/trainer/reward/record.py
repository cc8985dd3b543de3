"""The record of a reward model, and what is checked against it. Importable without torch."""

import random
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from retrain.config import HyperParameters
from retrain.trainer.errors import JudgeMismatchError
from retrain.trainer.events import Step

HEAD = "head.safetensors"
PROBES = 8
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}
"""Largest difference of two scores of the same answer, in logits, that is put down to rounding."""


class RewardRecord(BaseModel):
    """The content of `training.json`: how a reward model was trained, and what it must reproduce.

    `base_digest` identifies the base model's files. `probes` are the model's scores of
    `probe_rows`, which hold nobody's text. `precision` is that of training and scoring.
    """

    model_config = ConfigDict(frozen=True)

    base_model: str
    base_digest: str
    seed: int
    hyper: HyperParameters
    head_learning_rate: float
    label_weight: float
    pairs: int
    labels: int
    signals: dict[str, int]
    dropped: dict[str, int]
    steps: int
    last: Step | None
    probes: list[float]
    precision: str
    versions: dict[str, str]
    device: str
    seconds: float


def probe_rows(vocabulary: int) -> list[tuple[list[int], list[int]]]:
    """Return made-up prompts and answers by which a stored reward model is recognised.

    The ids are drawn from the first half of the vocabulary: placeholders of images and sounds have
    high ids.
    """
    drawn = random.Random(0)

    def some(size: int) -> list[int]:
        return [drawn.randrange(max(1, vocabulary // 2)) for _ in range(size)]

    return [(some(4 + number), some(1 + 2 * number)) for number in range(PROBES)]


def check_digest(record: RewardRecord, digest: str) -> None:
    """Raise `JudgeMismatchError` if the base model is not the one that was trained on."""
    if record.base_digest != digest:
        raise JudgeMismatchError(
            "the reward model was trained on another base model: start the run again"
        )


def check_probes(record: RewardRecord, scores: Sequence[float]) -> float:
    """Return the largest difference of the probes' scores from those in the record.

    Raises `JudgeMismatchError` if it is larger than rounding, or not a number.
    """
    largest = max(
        (abs(one - other) for one, other in zip(record.probes, scores, strict=True)), default=0.0
    )
    if not largest <= TOLERANCE[record.precision]:
        raise JudgeMismatchError(
            f"the loaded reward model scores its probes differently, by {largest:.2g}: its files "
            "or the base model's are damaged, or the libraries have changed; start the run again"
        )
    return largest
