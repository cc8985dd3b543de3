"""Expands the regular expressions of an adapter's config to the names of its modules.

For a warm start, PEFT loads the adapter and matches `target_modules`, `exclude_modules` and the
keys of `rank_pattern` and `alpha_pattern` with Python's `re`, which has no timeout. Only the
adapter's own modules matter then, so the expressions are replaced by their names, ranks and alphas.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from adapters.vetting.folder import WEIGHTS_FILE
from adapters.vetting.peft_config import ALL_LINEAR, PeftConfig, parse_tensor_name, read_config
from adapters.vetting.target_modules import BoundedMatcher
from adapters.vetting.weights import read_tensors

_PLAIN = re.compile(r"[A-Za-z0-9_.]*")


@dataclass(frozen=True, slots=True)
class LoraModule:
    """The rank and alpha of a module's update."""

    rank: int
    alpha: float


def spelled_out(folder: Path) -> dict[str, LoraModule] | None:
    """Return the modules of the adapter in `folder`; None if its config has no expressions.

    Raises a `VettingError` if vetting would refuse the adapter, and `OSError`.
    """
    config = read_config(folder)
    if _is_plain(config):
        return None
    matcher = BoundedMatcher()
    return {
        name: LoraModule(config.rank_of(name, matcher), config.alpha_of(name, matcher))
        for name in _modules(folder)
    }


def _is_plain(config: PeftConfig) -> bool:
    """Whether the config names all modules literally, by the ends of their names."""
    targets, excluded = config.target_modules, config.exclude_modules
    keys = [*(config.rank_pattern or {}), *(config.alpha_pattern or {})]
    return (
        (not isinstance(targets, str) or targets.lower() == ALL_LINEAR)
        and not isinstance(excluded, str)
        and all(_PLAIN.fullmatch(key) for key in keys)
    )


def _modules(folder: Path) -> list[str]:
    names = (parse_tensor_name(tensor.name) for tensor in read_tensors(folder / WEIGHTS_FILE))
    return sorted({name[0] for name in names if name is not None})
