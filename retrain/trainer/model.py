"""Load the base model, in full precision or four bits, its tokenizer and its LoRA adapter."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from common.chat_templates import template_text
from retrain.config import HyperParameters
from retrain.trainer.errors import JobError
from retrain.trainer.job import AdaptedModule, Job
from retrain.trainer.targets import choose_targets

_NOISE = ("dropout", "pdrop", "jitter")
"""Parts of the names of config fields that set dropout or other random noise in training."""


@dataclass(frozen=True, slots=True)
class Device:
    """The device and precision of a run."""

    cuda: bool
    bf16: bool

    @property
    def name(self) -> str:
        """The device's name in events: that of the GPU, or `cpu`."""
        return str(torch.cuda.get_device_name()) if self.cuda else "cpu"

    @property
    def precision(self) -> str:
        """The base model's precision in events and records: `bf16` or `fp32`."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def dtype(self) -> Any:
        """The base model's `torch.dtype`: bfloat16 or float32."""
        return torch.bfloat16 if self.bf16 else torch.float32


def pick_device(hyper: HyperParameters) -> Device:
    """Use the GPU if there is one; `auto` precision is bf16 on a GPU that has it, else fp32."""
    cuda = bool(torch.cuda.is_available())
    automatic = cuda and bool(torch.cuda.is_bf16_supported())
    bf16 = automatic if hyper.precision == "auto" else hyper.precision == "bf16"
    return Device(cuda=cuda, bf16=bf16)


def load_tokenizer(base_model: str, chat_template: str | None = None) -> Any:
    """Load the base model's tokenizer with the chat template of the server. Raises `JobError`."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(base_model)
    except (OSError, ValueError) as error:
        raise _unusable(base_model) from error
    if chat_template is not None:
        tokenizer.chat_template = _template_text(chat_template)
    return tokenizer


def _template_text(chat_template: str) -> str:
    """Read the template from a file, or return it if it is given literally. Raises `JobError`."""
    try:
        return template_text(chat_template)
    except OSError as error:
        raise JobError(
            f"chat_template: cannot read {chat_template} ({error.strerror}); "
            "name the file that engine.chat_template names"
        ) from error


def vocabulary_size(base_model: str) -> int:
    """Return the number of rows in the model's embedding. Raises `JobError`."""
    try:
        return int(AutoConfig.from_pretrained(base_model).get_text_config().vocab_size)
    except (OSError, ValueError) as error:
        raise _unusable(base_model) from error


def end_of_turn_ids(tokenizer: Any, base_model: str) -> frozenset[int]:
    """Return the ids at which vLLM stops: the tokenizer's and the generation config's EOS ids."""
    ends = set() if tokenizer.eos_token_id is None else {int(tokenizer.eos_token_id)}
    try:
        configured = GenerationConfig.from_pretrained(base_model).eos_token_id
    except OSError:  # the file is optional
        configured = None
    match configured:
        case int():
            ends.add(configured)
        case list():
            ends.update(configured)
    return frozenset(ends)


def load_policy(job: Job, device: Device) -> Any:
    """Load the base model, and on a warm start the live adapter on top of it.

    The adapter is named `default`, the only name for which TRL's `DPOTrainer` makes a frozen copy
    (`ref`) as the reference. Raises `JobError` if the model or the adapter cannot be loaded, or if
    PEFT did not load all of the adapter's weights.
    """
    base = load_base(job.base_model, job.hyper, device)
    return base if job.warm_start is None else _with_live_adapter(base, job.warm_start, job)


def load_base(base_model: str, hyper: HyperParameters, device: Device) -> Any:
    """Load the base model. Raises `JobError`."""
    try:
        config = quiet_config(base_model)
        return _auto_class(config).from_pretrained(
            base_model,
            config=config,
            dtype=device.dtype,
            quantization_config=_quantization(hyper, device),
            device_map={"": 0} if device.cuda else None,
        )
    except (OSError, ValueError) as error:
        raise _unusable(base_model) from error


def quiet_config(base_model: str) -> Any:
    """Read the model's config, and set dropout, router jitter and router loss to 0.

    Some model families apply dropout inside attention or jitter in the router, where it cannot be
    switched off later; the policy would then differ from the reference before the first step. The
    load-balancing loss of a mixture-of-experts model trains the router, which has no adapter.
    Raises `OSError` and `ValueError`.
    """
    config = AutoConfig.from_pretrained(base_model)
    for part in {id(part): part for part in (config, config.get_text_config())}.values():
        for name, value in part.to_dict().items():
            if isinstance(value, float) and any(word in name for word in _NOISE):
                setattr(part, name, 0.0)
        if hasattr(part, "router_aux_loss_coef"):
            part.router_aux_loss_coef = 0.0
    return config


def _auto_class(config: Any) -> Any:
    """Return the auto class for a language model, or for a vision-language model."""
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForCausalLM if causal else AutoModelForImageTextToText


def _quantization(hyper: HyperParameters, device: Device) -> BitsAndBytesConfig | None:
    if hyper.quantization == "none":
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
    )


def _with_live_adapter(base: Any, folder: Path, job: Job) -> Any:
    try:
        config = live_config(folder, job.warm_start_modules)
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=True, config=config)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise JobError(
            f"warm_start: the adapter in {folder} does not fit the base model; "
            "train from the base (warm_start null), or name the right one"
        ) from error
    _check_arrived(model, folder)
    return model


def live_config(folder: Path, modules: Mapping[str, AdaptedModule] | None) -> LoraConfig:
    """Return the live adapter's config; `modules` replace its regular expressions, if given.

    PEFT treats keys of `rank_pattern` and `alpha_pattern` as regular expressions, so the names are
    escaped.
    """
    config = LoraConfig.from_pretrained(str(folder))
    if modules is None:
        return config
    config.target_modules = set(modules)
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    named = {re.escape(name): module for name, module in modules.items()}
    config.rank_pattern = {
        name: module.rank for name, module in named.items() if module.rank != config.r
    }
    config.alpha_pattern = {
        name: module.alpha for name, module in named.items() if module.alpha != config.lora_alpha
    }
    return config


def _check_arrived(model: Any, folder: Path) -> None:
    """Raise `JobError` if PEFT did not load all weights; PEFT itself only warns."""
    stored = load_file(folder / "adapter_model.safetensors")
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    same = stored.keys() == loaded.keys() and all(
        torch.equal(loaded[name].cpu().float(), stored[name].float()) for name in stored
    )
    if not same:
        raise JobError(
            f"warm_start: the weights in {folder} do not match the base model's modules; "
            "train from the base (warm_start null), or name the right one"
        )


def fresh_lora(job: Job, base: Any) -> LoraConfig:
    """Return the config of a new adapter on `base`. Raises `JobError`.

    PEFT initialises LoRA's matrix B with zeros (arXiv:2106.09685), so training starts from the base
    model.
    """
    hyper = job.hyper
    return LoraConfig(
        r=hyper.lora_rank,
        lora_alpha=hyper.lora_alpha,
        lora_dropout=hyper.lora_dropout,
        target_modules=choose_targets(base, hyper.lora_target_modules, job.served_modules),
        task_type="CAUSAL_LM",
    )


def _unusable(base_model: str) -> JobError:
    return JobError(
        f"base_model: cannot load {base_model}; give a model folder or a hub id of a causal model"
    )
