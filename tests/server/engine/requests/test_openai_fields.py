"""Every field of OpenAI's requests has its effect here, or is refused by its name."""

from typing import Any, get_args, get_type_hints

import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_params

from server.engine.base import Endpoint
from server.engine.errors import RequestRefusedError
from server.engine.requests.rules import accepted_fields

pytestmark = pytest.mark.pure

REQUIRED: dict[Endpoint, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hello"}]},
    "completion": {"prompt": "So"},
}
EFFECT: dict[str, Any] = {
    "model": "pawl",
    "user": "ada",
    "safety_identifier": "ada",
    "metadata": {"order": "12"},
    "store": False,
    "service_tier": "auto",
    "prompt_cache_key": "shop",
    "prompt_cache_retention": "in_memory",
    "modalities": ["text"],
    "verbosity": "medium",
    "best_of": 1,
    "echo": False,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": {"5": 1},
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "n": 2,
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "response_format": {"type": "text"},
    "seed": 5,
    "stop": ["."],
    "stream": True,
    "temperature": 0.5,
    "top_p": 0.5,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "none",
}
"""A value of each field that is taken by itself: passed on, kept in the log, or so anyway."""
TOGETHER = {"logprobs", "top_logprobs", "stream_options", "messages", "prompt"}
"""Taken with others; see test_rules.py."""
REFUSED = {
    "audio",
    "function_call",
    "functions",
    "moderation",
    "prediction",
    "prompt_cache_options",
    "suffix",
    "web_search_options",
}


def fields(endpoint: Endpoint) -> set[str]:
    """The fields of OpenAI's own client for this endpoint."""
    of = chat_params if endpoint == "chat" else completion_create_params
    names: set[str] = set()
    for kind in get_args(of.CompletionCreateParams):
        names |= get_type_hints(kind).keys()
    return names


@pytest.mark.parametrize("endpoint", ["chat", "completion"])
def test_each_field_is_known_to_do_something_or_to_be_refused(endpoint: Endpoint) -> None:
    assert fields(endpoint) <= EFFECT.keys() | TOGETHER | REFUSED


@pytest.mark.parametrize("field", sorted(EFFECT))
def test_what_has_its_effect_is_taken(field: str) -> None:
    taken = [endpoint for endpoint, body in REQUIRED.items() if field in fields(endpoint)]
    assert taken
    for endpoint in taken:
        assert accepted_fields({**REQUIRED[endpoint], field: EFFECT[field]}, endpoint)


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_what_has_none_is_refused_by_name(field: str) -> None:
    for endpoint, body in REQUIRED.items():
        with pytest.raises(RequestRefusedError) as refused:
            accepted_fields({**body, field: {"a": 1}}, endpoint)
        assert refused.value.param == field
