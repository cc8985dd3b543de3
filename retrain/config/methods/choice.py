"""`retrain.method`: which method trains, and the settings that each of them would ignore. Pure."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel

Method = Literal["dpo", "kto", "orpo", "sft"]
MethodChoice = Literal["auto", "dpo", "kto", "orpo", "sft"]

_OF_DPO = (
    "hyper.loss_type",
    "hyper.loss_weights",
    "hyper.beta",
    "hyper.label_smoothing",
    "hyper.learning_rate",
    "hyper.epochs",
    "trainer.learning_rate_first",
)
_NO_REFERENCE = "hyper.precompute_ref_log_probs"

IGNORED: dict[MethodChoice, tuple[str, ...]] = {
    "auto": ("orpo",),
    "dpo": ("kto", "orpo", "sft", "minimum_labels", "minimum_demonstrations"),
    "kto": (*_OF_DPO, "orpo", "sft", "minimum_pairs", "minimum_demonstrations"),
    "orpo": (*_OF_DPO, _NO_REFERENCE, "kto", "sft", "minimum_labels", "minimum_demonstrations"),
    "sft": (*_OF_DPO, _NO_REFERENCE, "kto", "orpo", "minimum_pairs", "minimum_labels"),
}
"""By method, the settings and sections of `[retrain]` that nothing would read."""


def ignored_settings(config: BaseModel, method: MethodChoice) -> list[str]:
    """Return the settings that somebody set and that the method would ignore, by dotted name.

    A setting with its default value does not count: settings that were written out whole, as for
    another process, name all of them.
    """
    return [name for place in IGNORED[method] for name in _set_at(config, place)]


def _set_at(config: BaseModel, place: str) -> Iterator[str]:
    """Yield the names below `place` that were set: itself, or what is in it if it is a section."""
    first, _, rest = place.partition(".")
    if first not in config.model_fields_set:
        return
    value = getattr(config, first)
    if not isinstance(value, BaseModel):
        if value != type(config).model_fields[first].default:
            yield first
        return
    for name in (rest,) if rest else sorted(value.model_fields_set):
        yield from (f"{first}.{found}" for found in _set_at(value, name))
