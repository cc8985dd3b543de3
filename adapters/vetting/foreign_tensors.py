"""Explains unsupported tensors in an adapter, and how to save the adapter without them."""

import re

_ADAPTER = r"\.lora_(?:[AB]|embedding_[AB])\.(?!weight$|bias$)[^.]+(?:\.weight)?$"
"""In memory, names contain that of the adapter (`default`); `save_pretrained` removes it."""

_KINDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"(?:^|\.)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
        ),
        "a name with the wrapper of DDP, FSDP or torch.compile in it: unwrap the model "
        "(accelerator.unwrap_model(model)) and save it with model.save_pretrained(folder)",
    ),
    (
        re.compile(r"modules_to_save"),
        "a copy of a whole module that was trained in full: the engine serves LoRA weights only; "
        "train with modules_to_save=None",
    ),
    (
        re.compile(r"lora_embedding_[AB]"),
        "a LoRA weight of an embedding: train without embedding modules in target_modules",
    ),
    (
        re.compile(_ADAPTER),
        "a LoRA weight under the name that it has in memory, as torch.save or model.state_dict() "
        "write it: save the adapter with model.save_pretrained(folder)",
    ),
    (
        re.compile(r"lora_magnitude_vector"),
        "a magnitude of DoRA, which the engine does not serve: train with use_dora=False",
    ),
    (
        re.compile(r"\.lora_[AB](?:\.[^.]+)?\.bias$|\.bias$"),
        "a trained bias, which the engine does not serve: train with bias='none' and "
        "lora_bias=False",
    ),
    (
        re.compile(r"\.lora_[AB]\.weight$"),
        "a LoRA weight without the prefix base_model.model. or of an impossible module: save the "
        "adapter with PEFT's model.save_pretrained(folder)",
    ),
    (
        re.compile(r"(?:^|\.)(?:hada_|lokr_|oft_|ia3_|vera_|boft_|lora_[a-zA-Z])"),
        "a weight of another method than plain LoRA: train a LoraConfig",
    ),
    (
        re.compile(
            r"(?:^|\.)(?:embed_tokens|embed_in|embed_out|lm_head|wte|wpe)\.(?:base_layer\.)?weight$"
        ),
        "the whole embedding or head, which PEFT saves along when the vocabulary was resized or "
        "the module was trained: save with model.save_pretrained(folder, "
        "save_embedding_layers=False), and train without new tokens",
    ),
    (
        re.compile(r"\.base_layer\."),
        "a weight of the base model: save the adapter alone, with PEFT's "
        "model.save_pretrained(folder), not the merged or the whole model",
    ),
)
"""Patterns of tensor names and what they mean; the first match counts.
https://huggingface.co/docs/peft/developer_guides/checkpoint"""

_UNKNOWN = (
    "no LoRA weight of a linear module: save the adapter alone, with PEFT's "
    "model.save_pretrained(folder), and train linear modules only"
)


_NAME_END = 1024
"""Characters at the end of a name that are matched; names in a file may have any length."""


def explain(name: str) -> str:
    """Return what the tensor `name` is, and how to save the adapter without it."""
    end = name[-_NAME_END:]
    return next((text for pattern, text in _KINDS if pattern.search(end)), _UNKNOWN)
