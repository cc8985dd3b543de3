"""Target modules of a new adapter: the linear modules of the language model that vLLM serves.

PEFT's "all-linear" includes more: the vision tower, whose adapters vLLM silently ignores, and in a
mixture-of-experts model the fused expert weights (`target_parameters`, which Pawl does not serve).
Therefore the modules are listed by their full names.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch

from retrain.trainer.errors import JobError

ALL_LINEAR = "all-linear"

_TOWERS = frozenset(
    {"audio_tower", "connector", "embed_vision", "mm_projector", "multi_modal_projector"}
    | {"vision_model", "vision_tower", "visual"}
)
"""Names of the parts of a multimodal model that do not belong to its language model."""

_EXPERTS = "experts"
_FEED_FORWARD = frozenset(
    {"gate", "router", "shared_expert_gate", "gate_proj", "up_proj", "down_proj"}
    | {"w1", "w2", "w3", "input_linear", "output_linear"}
)
"""Excluded in a mixture-of-experts model: PEFT 0.21 turns these names, anywhere in the model, into
`target_parameters` of the fused experts (`_MOE_TARGET_MODULE_MAPPING` in transformers 5). Can be
removed once PEFT no longer converts modules that are given by their full names."""

_LATENT = frozenset({"kv_b_proj"})
"""Excluded because vLLM multiplies this weight into others when it loads the model (multi-head
latent attention): an adapter on it would apply to some tokens only."""

_STATE_SPACE = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
_STATE_SPACE_LEFT_OUT = frozenset({"out_proj", "conv1d"})
"""Excluded in these model families, for which PEFT raises on these modules
(`_check_lora_target_modules_mamba`)."""


def choose_targets(
    model: Any, wanted: Sequence[str] | str, served: Collection[str] | None = None
) -> list[str]:
    """Return the full names of the modules to train, sorted.

    Args:
        model: The base model, as transformers loads it.
        wanted: "all-linear", or suffixes of module names such as `q_proj`.
        served: Full names that the engine accepts in an adapter; None if unknown.

    Raises:
        JobError: No module is left, or one of the suffixes matches none. Checked here, since the
            engine would refuse the adapter only after training.

    """
    names = sorted(trainable_modules(model))
    if served is not None:
        names = [name for name in names if name in served]
    if not names:
        raise JobError(
            f"base_model: {_family(model)} has no linear module that an adapter can train and the "
            "engine serve; name a base model of another family (docs/models.md lists those tried)"
        )
    if wanted == ALL_LINEAR:
        return names
    ends = [wanted] if isinstance(wanted, str) else wanted
    _require_known(model, ends, names)
    return [name for name in names if any(_ends_with(name, end) for end in ends)]


def trainable_modules(model: Any) -> Iterator[str]:
    """Yield the full names of the linear modules that can be trained and served."""
    excluded = _excluded(model)
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        parts = name.split(".")
        linear = isinstance(module, torch.nn.Linear) and module is not head
        routes = "Router" in type(module).__name__  # its forward returns more than one tensor
        if (
            linear
            and not routes
            and parts[-1] not in excluded
            and not _outside_language_model(parts)
        ):
            yield name


def _excluded(model: Any) -> Collection[str]:
    excluded = set(_LATENT)
    if any(name.rsplit(".", 1)[-1] == _EXPERTS for name, _ in model.named_modules()):
        excluded |= _FEED_FORWARD
    if model.config.model_type in _STATE_SPACE:
        excluded |= _STATE_SPACE_LEFT_OUT
    return excluded


def _outside_language_model(parts: Sequence[str]) -> bool:
    return _EXPERTS in parts or not _TOWERS.isdisjoint(parts)


def _ends_with(name: str, end: str) -> bool:
    return f".{name}".endswith(f".{end}")


def _require_known(model: Any, ends: Sequence[str], names: Sequence[str]) -> None:
    unknown = [end for end in ends if not any(_ends_with(name, end) for name in names)]
    if unknown:
        known = sorted({name.rsplit(".", 1)[-1] for name in names})
        raise JobError(
            f"lora_target_modules: {', '.join(unknown)} cannot be trained and served in "
            f"{_family(model)}; take {', '.join(known)}"
        )


def _family(model: Any) -> str:
    return f"a model of the family {model.config.model_type}"
