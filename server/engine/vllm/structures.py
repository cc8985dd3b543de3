"""Extracts what vLLM compiles for a request: its grammar and the tokenizer."""

from collections.abc import Mapping
from typing import Any

import xgrammar  # noqa: F401  (imported here so that the first schema need not wait for it)
from vllm.config import VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.structured_output.backend_types import StructuredOutputOptions
from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend
from vllm.v1.structured_output.request import get_structured_output_key
from vllm.v1.structured_output.utils import choice_as_grammar, grammar_is_likely_lark

from server.engine.grammars.trials import Grammar, GrammarKind

_ANY_OBJECT = '{"type": "object"}'
_KINDS: Mapping[StructuredOutputOptions, GrammarKind] = {
    StructuredOutputOptions.JSON: "json",
    StructuredOutputOptions.JSON_OBJECT: "json",
    StructuredOutputOptions.REGEX: "regex",
    StructuredOutputOptions.GRAMMAR: "grammar",
    StructuredOutputOptions.STRUCTURAL_TAG: "structural_tag",
}


def grammar_of(params: SamplingParams) -> Grammar | None:
    """Return the grammar that the engine would compile for `params`.

    Returns None if the answer is unconstrained or vLLM itself refuses the parameters.
    """
    wanted = params.structured_outputs
    if wanted is None or wanted.all_constraints_none():
        return None
    kind, text = get_structured_output_key(wanted)
    if kind is StructuredOutputOptions.CHOICE:
        return Grammar("grammar", choice_as_grammar(wanted.choice)) if wanted.choice else None
    if kind is StructuredOutputOptions.GRAMMAR and grammar_is_likely_lark(text):
        return Grammar("lark", text)
    return Grammar(_KINDS[kind], text or _ANY_OBJECT)


def serialized_tokenizer(config: VllmConfig, tokenizer: Any) -> str:
    """Return xgrammar's serialized tokenizer, made by vLLM's own backend. Takes seconds."""
    size = config.model_config.get_vocab_size()
    backend = XgrammarBackend(config, tokenizer=tokenizer, vocab_size=size)
    grammar = backend.compiler.compile_json_schema(_ANY_OBJECT)
    return str(grammar.tokenizer_info.serialize_json())
