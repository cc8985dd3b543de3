"""A tensor that is not served is explained: what it is, and how to save the adapter without it."""

import pytest

from adapters.vetting.foreign_tensors import explain

Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("name", "what", "remedy"),
    [
        (f"{Q}.lora_A.default.weight", "in memory", "model.save_pretrained(folder)"),
        (f"{Q}.lora_B.my_adapter.weight", "in memory", "model.save_pretrained(folder)"),
        ("module." + Q + ".lora_A.weight", "wrapper", "unwrap"),
        (f"_orig_mod.{Q}.lora_A.weight", "wrapper", "unwrap"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", "prefix", "save_pretrained"),
        ("base_model.model.model.embed_tokens.weight", "embedding", "save_embedding_layers=False"),
        ("base_model.model.lm_head.weight", "head", "save_embedding_layers=False"),
        ("base_model.model.lm_head.base_layer.weight", "head", "save_embedding_layers=False"),
        ("base_model.model.transformer.wte.weight", "embedding", "save_embedding_layers=False"),
        ("base_model.model.lm_head.modules_to_save.weight", "in full", "modules_to_save=None"),
        (
            "base_model.model.model.embed_tokens.modules_to_save.default.weight",
            "in full",
            "modules_to_save=None",
        ),
        (f"{Q.rsplit('.', 2)[0]}.embed_tokens.lora_embedding_A", "embedding", "target_modules"),
        ("base_model.model.embed.lora_embedding_B.default", "embedding", "target_modules"),
        (f"{Q}.lora_magnitude_vector.weight", "DoRA", "use_dora=False"),
        (f"{Q}.lora_B.bias", "bias", "lora_bias=False"),
        (f"{Q}.lora_B.default.bias", "bias", "lora_bias=False"),
        (f"{Q}.bias", "bias", "bias='none'"),
        (f"{Q}.hada_w1_a", "another method", "LoraConfig"),
        (f"{Q}.base_layer.weight", "base model", "the adapter alone"),
        ("model.norm.weight", "no LoRA weight", "save_pretrained"),
        ("", "no LoRA weight", "save_pretrained"),
    ],
)
def test_a_foreign_tensor_is_explained(name: str, what: str, remedy: str) -> None:
    assert what in explain(name)
    assert remedy in explain(name)
