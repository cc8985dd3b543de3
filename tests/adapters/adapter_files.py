"""Writes adapters and a base model's headers as files, small enough to make hundreds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.vetting.base_model import BaseModelInfo

HIDDEN, INNER = 8, 12
MODULES = {
    "model.layers.0.self_attn.q_proj": (HIDDEN, HIDDEN),
    "model.layers.0.mlp.up_proj": (INNER, HIDDEN),
}
BASE = BaseModelInfo("tiny", "f" * 64, 8, MODULES)
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "up_proj"],
    "bias": "none",
    "base_model_name_or_path": "tiny",
}
Arrays = dict[str, NDArray[Any]]
_DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "float64": "F64", "int8": "I8"}


def arrays(seed: int = 0, rank: int = 4) -> Arrays:
    """LoRA weights for all modules of the base model."""
    random = np.random.default_rng(seed)
    made: Arrays = {}
    for module, (outputs, inputs) in MODULES.items():
        name = f"base_model.model.{module}"
        made[f"{name}.lora_A.weight"] = random.normal(size=(rank, inputs)).astype(np.float32)
        made[f"{name}.lora_B.weight"] = random.normal(size=(outputs, rank)).astype(np.float32)
    return made


def safetensors_bytes(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """A safetensors file; uint16 arrays stand for BF16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in tensors.items():
        begin, data = len(data), data + array.tobytes()
        dtype = _DTYPES[array.dtype.name]
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [begin, len(data)],
        }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def make_adapter(
    folder: Path,
    seed: int = 0,
    *,
    tensors: Arrays | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write an adapter's folder as PEFT does, including its README."""
    folder.mkdir(parents=True)
    content = safetensors_bytes(arrays(seed) if tensors is None else tensors)
    (folder / "adapter_model.safetensors").write_bytes(content)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (folder / "README.md").write_text("an adapter")
    return folder
