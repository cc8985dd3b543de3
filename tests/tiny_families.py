"""Tiny models with random weights, one of each family that Pawl was tried with.

Each has two layers and the same small tokenizer, is written as transformers writes it (so with the
names on disk that a downloaded model of the family has), and talks nonsense.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

VOCABULARY: Final = 512
"""Tokens of `tests.tiny_model`'s tokenizer, which every family shares."""

_TEXT: Final[Mapping[str, Any]] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "tie_word_embeddings": False,
}
"""Heads of 32, the smallest that vLLM's attention takes on a CPU."""

_GPT: Final[Mapping[str, Any]] = {
    "vocab_size": VOCABULARY,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 512,
    "initializer_range": 0.1,
}
_EXPERTS: Final[Mapping[str, Any]] = {"num_experts": 4, "num_experts_per_tok": 2}
_LOCAL_EXPERTS: Final[Mapping[str, Any]] = {"num_local_experts": 4, "num_experts_per_tok": 2}
_LATENT: Final[Mapping[str, Any]] = {
    "num_key_value_heads": 2,
    "q_lora_rank": None,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "head_dim": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_MAMBA: Final[Mapping[str, Any]] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 16,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
}
_VISION: Final[Mapping[str, Any]] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@dataclass(frozen=True, slots=True)
class Family:
    """How a tiny model of a family is made: `settings` go to the config of `model_type`."""

    name: str
    model_type: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    base: Mapping[str, Any] = field(default_factory=lambda: _TEXT)
    architecture: str | None = None
    """The class to make, where it is not what `AutoModelForCausalLM` takes."""


def _text(model_type: str, name: str | None = None, **settings: Any) -> Family:
    return Family(name or model_type, model_type, settings)


def _seeing(
    model_type: str,
    architecture: str,
    text: str,
    vision: Mapping[str, Any],
    text_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Family:
    nested = {
        "text_config": {**_TEXT, "model_type": text, **(text_settings or {})},
        "vision_config": {**_VISION, **vision},
    }
    return Family(
        model_type, model_type, {**nested, **settings}, base={}, architecture=architecture
    )


FAMILIES: Final = (
    _text("llama"),
    _text("mistral"),
    _text("ministral"),
    _text("qwen2"),
    _text("qwen3"),
    _text("qwen2_moe", **_EXPERTS, moe_intermediate_size=32, shared_expert_intermediate_size=32),
    _text("qwen3_moe", **_EXPERTS, moe_intermediate_size=32),
    _text("gemma"),
    _text("gemma2", tie_word_embeddings=True),
    _text("gemma3_text", tie_word_embeddings=True),
    _text("phi", partial_rotary_factor=0.5),
    _text("phi3"),
    _text("phimoe", **_LOCAL_EXPERTS),
    _text("mixtral", **_LOCAL_EXPERTS),
    _text("gpt_neox"),
    Family("gpt2", "gpt2", base=_GPT),
    Family("gptj", "gptj", {"rotary_dim": 16}, base=_GPT),
    _text("opt", ffn_dim=96, word_embed_proj_dim=64),
    _text("bloom", n_layer=2, n_head=2),
    Family(
        "falcon",
        "falcon",
        {"multi_query": True},
        base={name: value for name, value in _TEXT.items() if name != "head_dim"},
    ),
    _text("starcoder2"),
    _text("olmo"),
    _text("olmo2"),
    _text("olmo3"),
    _text("olmoe", **_EXPERTS),
    _text("granite"),
    _text("granitemoe", **_LOCAL_EXPERTS),
    _text("granitemoeshared", **_LOCAL_EXPERTS, shared_intermediate_size=32),
    _text(
        "granitemoehybrid",
        **_LOCAL_EXPERTS,
        **_MAMBA,
        shared_intermediate_size=32,
        layer_types=["mamba", "attention"],
    ),
    _text("stablelm"),
    _text("cohere", tie_word_embeddings=True),
    _text("cohere2", tie_word_embeddings=True),
    _text("glm"),
    _text("glm4"),
    _text(
        "glm4_moe",
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
        n_shared_experts=1,
    ),
    _text("deepseek_v2", **_LATENT, topk_method="greedy"),
    _text("deepseek_v3", **_LATENT, topk_method="noaux_tc"),
    _text("smollm3"),
    _text("exaone4"),
    _text("ernie4_5"),
    _text("nemotron"),
    _text("minimax_m2", **_LOCAL_EXPERTS),
    _text("gpt_oss", **_LOCAL_EXPERTS),
    _text("seed_oss"),
    _text("apertus"),
    _text("lfm2", layer_types=["conv", "full_attention"]),
    _text(
        "jamba",
        **_EXPERTS,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=16,
        use_mamba_kernels=False,
    ),
    _text("bamba", **_MAMBA, attn_layer_indices=[1]),
    _text("falcon_h1", **_MAMBA, mamba_d_ssm=128),
    _text(
        "qwen3_next",
        **_EXPERTS,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
    ),
    Family(
        "mamba",
        "mamba",
        {"state_size": 16},
        base={"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2},
    ),
    _seeing("gemma3", "Gemma3ForConditionalGeneration", "gemma3_text", {}),
    _seeing(
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        "qwen2_vl_text",
        {"embed_dim": 64, "hidden_size": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 2},
        {"rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6]}},
    ),
    _seeing(
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        "qwen2_5_vl_text",
        {"hidden_size": 64, "out_hidden_size": 64, "depth": 2, "num_heads": 2},
        {"rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6]}},
    ),
    _seeing(
        "qwen3_vl",
        "Qwen3VLForConditionalGeneration",
        "qwen3_vl_text",
        {"out_hidden_size": 64, "depth": 2, "num_heads": 2, "deepstack_visual_indexes": [0]},
        {"rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6]}},
    ),
    _seeing(
        "mistral3",
        "Mistral3ForConditionalGeneration",
        "mistral",
        {"model_type": "pixtral", "head_dim": 32},
    ),
    _seeing(
        "llava",
        "LlavaForConditionalGeneration",
        "llama",
        {"model_type": "clip_vision_model", "projection_dim": 64},
    ),
    _seeing("paligemma", "PaliGemmaForConditionalGeneration", "gemma", {"projection_dim": 64}),
    _seeing("idefics3", "Idefics3ForConditionalGeneration", "llama", {}),
    _seeing(
        "llama4",
        "Llama4ForConditionalGeneration",
        "llama4_text",
        {"vision_output_dim": 64, "projector_input_dim": 64, "projector_output_dim": 64},
        {**_LOCAL_EXPERTS, "num_experts_per_tok": 1, "intermediate_size_mlp": 96},
    ),
)
BY_NAME: Final = {family.name: family for family in FAMILIES}


def make_family(family: Family, folder: Path, *, seed: int = 0) -> Path:
    """Write a random model of `family`, in float32, with tokenizer and chat template.

    Returns `folder`.
    """
    import torch  # noqa: PLC0415  (slow, and naming the families needs none of it)
    import transformers  # noqa: PLC0415

    from tests.tiny_model import tiny_tokenizer  # noqa: PLC0415

    tokenizer = tiny_tokenizer()
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    settings = {**family.base, **ids, **family.settings}
    config = transformers.AutoConfig.for_model(family.model_type, **settings)
    torch.manual_seed(seed)
    if family.architecture is None:
        model = transformers.AutoModelForCausalLM.from_config(config)
    else:
        model = getattr(transformers, family.architecture)(config)
    model.to(torch.float32)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
