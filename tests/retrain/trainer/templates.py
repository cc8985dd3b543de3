"""Chat templates that think, in the small: how well-known families write prompts and answers."""

from typing import Any

from tests.retrain.trainer.tiny import make_tokenizer

QWEN3 = (
    "{%- for m in messages %}"
    "{%- if m.role == 'assistant' %}"
    "{%- set content = m.content %}{%- set reasoning = '' %}"
    "{%- if '</think>' in content %}"
    "{%- set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if loop.last %}{{- '<think>\\n' + reasoning + '\\n</think>\\n\\n' }}{%- endif %}"
    "{{- content + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
"""Thinks unless told not to; an empty block is written before every last answer."""

DEEPSEEK = (
    "{%- for m in messages %}"
    "{%- if m.role == 'assistant' %}{{- '<|Assistant|>' + m.content.split('</think>')[-1] }}"
    "{{- '<|im_end|>' }}"
    "{%- elif m.role == 'user' %}{{- '<|User|>' + m.content }}"
    "{%- else %}{{- m.content }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|Assistant|><think>\\n' }}{%- endif %}"
)
"""The prompt opens the reasoning; answers in the history have none."""

DEEPSEEK_HYBRID = (
    "{%- for m in messages %}"
    "{%- if m.role == 'assistant' %}{{- '<|Assistant|></think>' + m.content + '<|im_end|>' }}"
    "{%- else %}{{- '<|User|>' + m.content }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|Assistant|>' }}"
    "{{- '<think>' if thinking else '</think>' }}{%- endif %}"
)
"""The prompt opens the reasoning or closes it; answers in the history begin with its end."""

HARMONY = (
    "{{- '<|start|>system<|message|>Reasoning: ' + (reasoning_effort or 'medium') + '<|end|>' }}"
    "{%- for m in messages %}"
    "{%- if m.role == 'assistant' %}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
    "{%- else %}"
    "{{- '<|start|>' + ('developer' if m.role == 'system' else m.role) }}"
    "{{- '<|message|>' + m.content + '<|end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"
)
"""Channels; an answer ends otherwise than a tool call, and otherwise than one in the history."""

INSTRUCT = (
    "{%- for m in messages %}{%- if m.role == 'assistant' %}{{- m.content + '<|im_end|>' }}"
    "{%- else %}{{- '[INST]' + m.content + '[/INST]' }}{%- endif %}{%- endfor %}"
)
"""Nothing is put before an answer."""

SPECIAL = (
    "<|User|>",
    "<|Assistant|>",
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
)


def thinking_tokenizer(template: str) -> Any:
    """A tokenizer that knows the templates' tokens: the tags of reasoning are words of its own."""
    tokenizer = make_tokenizer(template)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer
