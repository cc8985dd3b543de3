"""The properties of the base model that an adapter must match."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adapters.vetting.base_norms import UNKNOWN, BaseNorms
from adapters.vetting.families import Family, in_tower, read_family
from adapters.vetting.weights import Tensor, read_tensors

Shape = tuple[int, int]
"""A linear module's (outputs, inputs)."""

_PLAIN = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""safetensors dtypes whose tensors have the module's shape; quantised weights are packed."""

_PACKED = (".qweight", ".weight_packed")
_WEIGHT = ".weight"
_EMBEDDINGS = frozenset(
    {"embed_tokens", "embed_in", "embed_out", "embed_positions", "embeddings", "lm_head"}
    | {"word_embeddings", "wte", "wpe"}
)
MATRIX = 2
"""Number of dimensions of a linear module's weight."""


@dataclass(frozen=True, slots=True)
class BaseModelInfo:
    """The base model that is served.

    Attributes:
        name: Its name in the settings.
        fingerprint: `EngineInfo.model_fingerprint`.
        max_rank: The engine's largest LoRA rank.
        modules: The linear modules that an adapter may change, with their shapes (None for
            quantised weights). Empty if unknown; then vetting skips the comparison.
        dtype: The type of the engine's adapter weights and computations, as safetensors names it
            (`F32`, `F16`, `BF16`).
        norms: The Frobenius norms of the base weights.
        family: None if the model's config does not name one.

    """

    name: str
    fingerprint: str
    max_rank: int
    modules: Mapping[str, Shape | None] = field(default_factory=dict)
    dtype: str = "F32"
    norms: BaseNorms = field(default=UNKNOWN, compare=False, repr=False)
    family: Family | None = None


def read_modules(folder: Path) -> dict[str, Shape | None]:
    """Return the linear modules of the model in `folder`, from its safetensors headers.

    If loading renames a family's modules, both names are returned: vLLM accepts adapters under
    either. Embeddings and the head are excluded, because an adapter on them would silently change
    the reference model of the next training. Vision and audio towers are excluded, because vLLM
    ignores adapters there, and so are modules on which vLLM refuses adapters. Empty without
    safetensors files. Raises `WeightsFormatError` and `OSError`.
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
    """Return the tensor names of modules that loading renames, by the name after loading.

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
    """Return whether a module of that name is an embedding or the head."""
    return module.rsplit(".", 1)[-1] in _EMBEDDINGS


def _may_be_adapted(name: str, family: Family | None) -> bool:
    if is_embedding(name) or in_tower(name):
        return False
    return family is None or family.takes_adapters_on(name)


def _module(tensor: Tensor) -> str | None:
    """Return the linear module that `tensor` is the weight of, or None."""
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
