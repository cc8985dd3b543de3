"""The adapter's folder: written to a scratch folder, synced, then renamed to its final name."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from common.files import sync
from retrain.config import HyperParameters, Method
from retrain.trainer.errors import NonFiniteError
from retrain.trainer.events import Step

WEIGHTS, CONFIG, RECORD = "adapter_model.safetensors", "adapter_config.json", "training.json"


class StageRecord(BaseModel):
    """How one stage was trained; `hyper` has the batch that fitted into memory.

    `class_weights` are KTO's factors of good and bad answers; None for other methods.
    """

    method: Method
    rows: int
    signals: dict[str, int]
    dropped: dict[str, int]
    steps: int
    last: Step | None
    class_weights: tuple[float, float] | None = None
    hyper: HyperParameters


class TrainingRecord(BaseModel):
    """The content of `training.json`: how an adapter was trained.

    `pairs`, `signals`, `dropped` and `steps` are sums over the stages, so a demonstration that two
    stages were trained on counts twice; `hyper` and `last` are those of the last stage.
    """

    base_model: str
    warm_start: bool
    seed: int
    hyper: HyperParameters
    pairs: int
    signals: dict[str, int]
    dropped: dict[str, int]
    steps: int
    last: Step | None
    stages: list[StageRecord] = []
    versions: dict[str, str]
    device: str
    seconds: float


def save_adapter(model: Any, base_model: str, folder: Path) -> None:
    """Write the policy's weights and config, and no other file, into `folder`.

    `base_model` is written into the config. Raises `NonFiniteError` on a NaN or infinite weight.
    """
    _check_finite(model)
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
    config = model.peft_config["default"]
    config.base_model_name_or_path = base_model
    if isinstance(config.target_modules, set):  # a set's order differs from process to process
        config.target_modules = sorted(config.target_modules)
    # Without this argument PEFT looks up the base model on the hub to decide about the embeddings
    # (`peft.utils.save_and_load.get_peft_model_state_dict`).
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    for path in folder.iterdir():
        if path.name not in (WEIGHTS, CONFIG):
            path.unlink()


def publish(folder: Path, output: Path, record: BaseModel) -> str:
    """Add the record (`training.json`), sync everything and rename `folder` to `output`.

    Both must be on the same file system.

    Returns the SHA-256 of the weights in hex. If it raises `OSError`, `output` does not exist.
    """
    (folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n")
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    for path in (*folder.iterdir(), folder):
        sync(path)
    folder.rename(output)
    sync(output.parent)
    return digest


def _check_finite(model: Any) -> None:
    trained = (value for value in model.parameters() if value.requires_grad)
    if not all(bool(torch.isfinite(value).all()) for value in trained):
        raise NonFiniteError("the adapter holds NaN or infinite weights; lower learning_rate")
