"""Converts the packaged GGUF file to a model folder: `python -m demo.smollm2.convert PACKAGES OUT`.

A process of its own, since it needs the package `gguf` from PACKAGES on its path, a gigabyte of
memory and 20 seconds.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM


def convert(packages: Path, out: Path) -> None:
    """Write the model in bfloat16, with tokenizer and chat template, into `out`.

    transformers dequantizes while it reads. It keeps a note of the old quantization in the config,
    with which it refuses to save; a fresh model with the same config and weights has none.
    """
    (file,) = packages.rglob("*.gguf")
    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    read = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    del read.config.quantization_config
    model = LlamaForCausalLM(read.config)
    model.load_state_dict(read.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    convert(*map(Path, sys.argv[1:3]))
