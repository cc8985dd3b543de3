"""Validates `adapter_config.json` as written by PEFT.

Refuses every config that the engine would load differently from how PEFT trained it: see
`PEFTHelper` in vLLM's `lora/peft_helper.py` (0.32), and PEFT's `LoraConfig` (0.21) for the fields.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from adapters.errors import ConfigError, UnsupportedAdapterError
from adapters.vetting.target_modules import KEYS_MAX, BoundedMatcher, check_pattern

_T = TypeVar("_T")

CONFIG_FILE = "adapter_config.json"
_LIMIT_BYTES = 1024 * 1024

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,256}$")]
"""A module's name, or the end of it."""

Pattern = Annotated[str, StringConstraints(min_length=1), AfterValidator(check_pattern)]
"""A regular expression; see `adapters.vetting.target_modules`."""

Rank = Annotated[int, Field(ge=1, le=2**20)]
Alpha = Annotated[float, Field(allow_inf_nan=False)]
Keyed = Annotated[Mapping[Pattern, _T], Field(max_length=KEYS_MAX)]
"""Values by regular expressions that match the ends of modules' names."""

_MUST_BE_UNSET = (
    "use_dora",
    "lora_bias",
    "alora_invocation_tokens",
    "layer_replication",
    "use_bdlora",
    "use_qalora",
    "target_parameters",
    "trainable_token_indices",
    "megatron_config",
    "monteclora_config",
    "velora_config",
    "kasa_config",
    "arrow_config",
)
"""Features that the engine does not support or would silently ignore; and `megatron_config`, which
makes PEFT import a module that the config names."""

ALL_LINEAR = "all-linear"
"""PEFT's `target_modules` value for all linear modules except the head."""

_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Initialisations that do not change the base weights (the list in vLLM's `PEFTHelper`)."""


class PeftConfig(BaseModel):
    """The fields that determine what the weights mean; all others are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    peft_type: Literal["LORA"]
    r: Rank
    lora_alpha: Alpha
    use_rslora: bool | None = False
    target_modules: list[Name] | Pattern | None = None
    exclude_modules: list[Name] | Pattern | None = None
    layers_pattern: list[Name] | Name | None = None
    rank_pattern: Keyed[Rank] | None = None
    alpha_pattern: Keyed[Alpha] | None = None
    base_model_name_or_path: str | None = None

    def rank_of(self, module: str, matcher: BoundedMatcher) -> int:
        """Return the rank of `module`: of the first match in `rank_pattern`, else `r`."""
        ranks = self.rank_pattern or {}
        key = matcher.first_key(ranks, module)
        return self.r if key is None else ranks[key]

    def alpha_of(self, module: str, matcher: BoundedMatcher) -> float:
        """Return its alpha: of the first match in `alpha_pattern`, else `lora_alpha`."""
        alphas = self.alpha_pattern or {}
        key = matcher.first_key(alphas, module)
        return self.lora_alpha if key is None else alphas[key]

    def scaling_of(self, module: str, matcher: BoundedMatcher) -> float:
        """Return the factor of B·A: alpha / rank, or alpha / sqrt(rank) for rsLoRA.

        rsLoRA: https://arxiv.org/abs/2312.03732
        """
        rank = self.rank_of(module, matcher)
        return self.alpha_of(module, matcher) / (math.sqrt(rank) if self.use_rslora else rank)

    def targets(self, module: str, matcher: BoundedMatcher) -> bool:
        """Return whether PEFT would adapt `module`, judged by its name."""
        if matcher.names(self.exclude_modules, module):
            return False
        named = self.target_modules
        if named is None or (isinstance(named, str) and named.lower() == ALL_LINEAR):
            return True
        return matcher.names(named, module)


def read_config(folder: Path) -> PeftConfig:
    """Read and validate the config in `folder`.

    Raises `ConfigError` if it is invalid, `UnsupportedAdapterError` for a kind of adapter that the
    engine cannot serve as it was trained, and `OSError`.
    """
    raw = _object(folder / CONFIG_FILE)
    _check_features(raw)
    try:
        return PeftConfig.model_validate(raw)
    except ValidationError as error:
        fields = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        message = f"{CONFIG_FILE} has a bad {', '.join(fields)}: save the adapter again with PEFT"
        raise ConfigError(message) from None


def _object(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LIMIT_BYTES:
        raise ConfigError(f"{CONFIG_FILE} is larger than {_LIMIT_BYTES} bytes: save it again")
    try:
        raw = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{CONFIG_FILE} is not JSON: save the adapter again") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{CONFIG_FILE} is not an object: save the adapter again")
    return raw


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _check_features(raw: dict[str, Any]) -> None:
    if raw.get("peft_type") != "LORA":
        raise UnsupportedAdapterError(
            "only LoRA adapters are served: train one with peft_type LORA"
        )
    if raw.get("modules_to_save"):
        raise UnsupportedAdapterError(
            f"{CONFIG_FILE} names modules_to_save: whole modules that were trained in full, often "
            "the embedding and the head for new tokens. The engine serves LoRA weights only: train "
            "with modules_to_save=None and the base model's own tokens"
        )
    used = [name for name in _MUST_BE_UNSET if raw.get(name)]
    if used:
        raise UnsupportedAdapterError(
            f"{CONFIG_FILE} uses {', '.join(used)}, which the engine does not serve: train without"
        )
    if raw.get("bias", "none") != "none":
        raise UnsupportedAdapterError("the engine serves no trained bias: train with bias = none")
    start = raw.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        raise UnsupportedAdapterError(
            "init_lora_weights changed the base model's weights: convert the adapter to plain LoRA "
            "(PEFT's path_initial_model_for_weight_conversion)"
        )


_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>[A-Za-z0-9_.]{1,512})\.lora_(?P<half>[AB])\.weight"
)


def parse_tensor_name(name: str) -> tuple[str, str] | None:
    """Return the module of a LoRA weight and its half, `A` or `B`; None for any other tensor."""
    match = _TENSOR.fullmatch(name)
    return (match["module"], match["half"]) if match else None
