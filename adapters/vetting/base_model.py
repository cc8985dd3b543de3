"""The base model as far as adapters must match it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adapters.vetting.base_norms import UNKNOWN, BaseNorms
from adapters.vetting.families import Family, in_tower, read_family
from adapters.vetting.weights import Tensor, read_tensors

Shape = tuple[int, int]
"""A linear module's (outputs, inputs)."""

_PLAIN = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Types whose tensor has the module's own shape; quantised ones are packed."""

_PACKED = (".qweight", ".weight_packed")
_WEIGHT = ".weight"
_EMBEDDINGS = frozenset(
    {"embed_tokens", "embed_in", "embed_out", "embed_positions", "embeddings", "lm_head"}
    | {"word_embeddings", "wte", "wpe"}
)
MATRIX = 2
"""Dimensions of a linear module's weight."""


@dataclass(frozen=True, slots=True)
class BaseModelInfo:
    """What is served: `fingerprint` is `EngineInfo.model_fingerprint`, `max_rank` the engine's.

    `modules` are the linear modules that an adapter may change, with their shapes (None where the
    files do not tell, because they are quantised). Empty: unknown, then vetting cannot compare.
    `dtype` is what the engine keeps adapters in and computes with, as safetensors names it (`F32`,
    `F16`, `BF16`); `norms` tells how large the base weights are.
    `family` is None where the model's config does not tell it.
    """

    name: str
    fingerprint: str
    max_rank: int
    modules: Mapping[str, Shape | None] = field(default_factory=dict)
    dtype: str = "F32"
    norms: BaseNorms = field(default=UNKNOWN, compare=False, repr=False)
    family: Family | None = None


def read_modules(folder: Path) -> dict[str, Shape | None]:
    """The linear modules of the model in `folder`, from the headers of its safetensors files.

    Where a family's modules are called otherwise once they are loaded, both names are given: vLLM
    takes adapters under either. Embeddings and the head are left out: an adapter on them changes
    the reference of the next training unseen. So are vision and audio towers, where vLLM ignores
    adapters, and modules on which vLLM refuses them. Empty without such files. Raises
    `WeightsFormatError` and `OSError`.
    """
    family = read_family(folder)
    modules: dict[str, Shape | None] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for tensor in read_tensors(path):
            name = _module(tensor)
            if name is not None and _may_be_adapted(name, family):
                modules[name] = _shape(tensor)
                if family is not None:
                    modules[family.loaded_name(name)] = _shape(tensor)
    return modules


def renamed_tensors(folder: Path) -> dict[str, str]:
    """The tensor of each module that is called otherwise once it is loaded, by that other name.

    Raises `WeightsFormatError` and `OSError`.
    """
    family = read_family(folder)
    if family is None:
        return {}
    return {
        loaded: tensor.name
        for path in sorted(folder.glob("*.safetensors"))
        for tensor in read_tensors(path)
        if (stored := _module(tensor)) and (loaded := family.loaded_name(stored)) != stored
    }


def is_embedding(module: str) -> bool:
    """Whether a module of that name is an embedding or the head."""
    return module.rsplit(".", 1)[-1] in _EMBEDDINGS


def _may_be_adapted(name: str, family: Family | None) -> bool:
    if is_embedding(name) or in_tower(name):
        return False
    return family is None or family.takes_adapters_on(name)


def _module(tensor: Tensor) -> str | None:
    """The linear module that `tensor` is the weight of."""
    if len(tensor.shape) != MATRIX:
        return None
    for suffix in (_WEIGHT, *_PACKED):
        if tensor.name.endswith(suffix):
            return tensor.name.removesuffix(suffix)
    return None


def _shape(tensor: Tensor) -> Shape | None:
    if tensor.dtype not in _PLAIN or not tensor.name.endswith(_WEIGHT):
        return None
    outputs, inputs = tensor.shape
    return outputs, inputs
