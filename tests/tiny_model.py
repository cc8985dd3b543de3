"""A tiny Llama with random weights, and random LoRA adapters for it, in a second or two.

It talks nonsense, the same nonsense for the same prompt at temperature 0, and each adapter changes
all of it. Text is what the engine's tests need; sense is the demo model's business.
"""

import json
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from demo.shop.chat_template import chat_template
from tests.lazy_modules import lazy

torch = lazy("torch")
safetensors = lazy("safetensors.torch")
transformers = lazy("transformers")

PAD, TURN_START, TURN_END = "<|pad|>", "<|im_start|>", "<|im_end|>"
VOCABULARY: Final = 512
_HIDDEN, _INTERMEDIATE, _LAYERS, _HEADS = 128, 256, 2, 4
_SHAPES: Final = {
    "self_attn.q_proj": (_HIDDEN, _HIDDEN),
    "self_attn.k_proj": (_HIDDEN, _HIDDEN),
    "self_attn.v_proj": (_HIDDEN, _HIDDEN),
    "self_attn.o_proj": (_HIDDEN, _HIDDEN),
    "mlp.gate_proj": (_INTERMEDIATE, _HIDDEN),
    "mlp.up_proj": (_INTERMEDIATE, _HIDDEN),
    "mlp.down_proj": (_HIDDEN, _INTERMEDIATE),
}
_SOME_TEXT: Final = [
    "user assistant system tool name arguments parameters function true false null",
    "When do the tomatoes ripen? Late in summer, if the slugs leave any.",
    "How much is a bag of compost, and do you deliver it on Saturdays?",
]


def make_tiny_model(
    folder: Path, *, seed: int = 0, newline_ends_turn: bool = False, positions: int = 512
) -> Path:
    """Write a model, its tokenizer and its chat template into `folder`, which is returned.

    `newline_ends_turn` gives the template with which rendering an answer again changes its token
    ids. float32, so that
    greedy decoding hardly ever meets a tie.
    """
    tokenizer = tiny_tokenizer(newline_ends_turn=newline_ends_turn)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=_HIDDEN,
        intermediate_size=_INTERMEDIATE,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        num_key_value_heads=_HEADS,
        max_position_embeddings=positions,
        initializer_range=0.1,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = transformers.LlamaForCausalLM(config).to(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_tokenizer(*, newline_ends_turn: bool = False) -> Any:
    """A byte-level BPE of `VOCABULARY` tokens, with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SOME_TEXT, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=TURN_END,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat_template(newline_ends_turn=newline_ends_turn)
    return fast


def make_random_adapter(
    folder: Path, *, base: Path, seed: int, rank: int = 8, scale: float = 0.2
) -> Path:
    """Write a LoRA adapter in PEFT's format into `folder`, which is returned.

    Random A and B on every linear layer, strong enough to change every greedy answer.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(_LAYERS):
        for module, (outputs, inputs) in _SHAPES.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            a = torch.randn(rank, inputs, generator=generator) / inputs**0.5
            tensors[f"{name}.lora_A.weight"] = a
            tensors[f"{name}.lora_B.weight"] = scale * torch.randn(
                outputs, rank, generator=generator
            )
    folder.mkdir(parents=True)
    safetensors.save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(_adapter_config(base, rank)))
    return folder


def _adapter_config(base: Path, rank: int) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [module.split(".")[1] for module in _SHAPES],
        "inference_mode": True,
    }
