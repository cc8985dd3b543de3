"""Creates an adapter with which the tiny model answers with one character only, for any prompt.

Random directions of the last layer's input are squared in its gate (`silu(z) z` and `silu(-z) -z`
add up to about z squared, which is never negative), and all are added along the character's row of
the output matrix, so that its logit is always the largest.
"""

import json
from pathlib import Path
from typing import Any

from tests.lazy_modules import lazy
from tests.tiny_model import make_random_adapter

torch = lazy("torch")
safetensors = lazy("safetensors.torch")

CHARACTERS = "QZXJKVWYBF"
"""Possible sentinels: letters that do not occur in any field of a response."""
_LOUDNESS = 20.0


def make_sentinel_adapter(folder: Path, *, base: Path, character: str) -> Path:
    """Write the adapter into `folder` and return it; `base` must be from `make_tiny_model`."""
    make_random_adapter(folder, base=base, seed=0)
    weights = folder / "adapter_model.safetensors"
    tensors = {
        name: torch.zeros_like(tensor) for name, tensor in safetensors.load_file(weights).items()
    }
    last = max(int(name.split(".layers.")[1].split(".")[0]) for name in tensors)
    mlp = f"base_model.model.model.layers.{last}.mlp"
    rank, hidden = tensors[f"{mlp}.gate_proj.lora_A.weight"].shape
    directions = torch.randn(rank, hidden, generator=torch.Generator().manual_seed(0))
    for gate in ("gate_proj", "up_proj"):
        tensors[f"{mlp}.{gate}.lora_A.weight"] = directions / hidden**0.5
        rows = tensors[f"{mlp}.{gate}.lora_B.weight"]
        for place in range(rank):
            rows[2 * place, place], rows[2 * place + 1, place] = _LOUDNESS, -_LOUDNESS
    tensors[f"{mlp}.down_proj.lora_A.weight"][0, : 2 * rank] = 1.0
    tensors[f"{mlp}.down_proj.lora_B.weight"][:, 0] = _row(base, character)
    safetensors.save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def _row(base: Path, character: str) -> Any:
    """The row of the output matrix that belongs to `character`."""
    vocabulary = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
    row: Any = safetensors.load_file(base / "model.safetensors")["lm_head.weight"]
    return row[vocabulary[character]]
