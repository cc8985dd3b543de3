"""The rules for request bodies: an allow-list of fields and bounds on their values.

A field that is not listed is refused. Ignoring it would silently change the answer, and some of
vLLM's extensions are unsafe for clients to use (request templates, embeddings, KV transfer, media).
Messages name the field and quote nothing of the request.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson

from adapters.names import BASE
from common.json_values import whole_number
from server.engine.base import Endpoint, EngineCall
from server.engine.errors import RequestRefusedError
from server.engine.limits import USUAL_LIMITS, Limits
from server.engine.requests import checks as check
from server.engine.requests import messages
from server.engine.requests.checks import INT32, Check, refuse
from server.engine.requests.combinations import check_together
from server.engine.requests.json_values import first_fault
from server.engine.requests.structured_outputs import bounded_structure
from server.engine.requests.structures import response_format, structure

_NOT_FOR_THE_MODEL: Mapping[str, Check] = {
    "model": check.anything,  # the caller has resolved it
    "user": check.text,
    "safety_identifier": check.text,
    "metadata": check.labels,
    "store": check.flag,
    "service_tier": check.one_of("auto", "default", why=": there is one tier here"),
    "prompt_cache_key": check.text,
    "prompt_cache_retention": check.one_of("in_memory", "in-memory", why=": none is longer here"),
}
"""OpenAI's fields that do not go to the engine: the user, what the log stores (`server.serving`),
and options that match what Pawl does anyway. Its prefix cache is always in memory and by tenant."""

_ONLY: Mapping[str, Any] = {
    "use_beam_search": False,
    "echo": False,
    "best_of": 1,
    "modalities": ["text"],
    "verbosity": "medium",
}
"""Fields that may only have the value that describes what Pawl does anyway."""

_INSTEAD: Mapping[str, str] = {
    "best_of": "is not supported; use n.",
    "use_beam_search": "beam search is not supported; use n with sampling.",
    "priority": "cannot be set by a client; leave it out.",
    "functions": "is not supported; use tools.",
    "function_call": "is not supported; use tool_choice.",
    "verbosity": "only medium is supported; ask for it in a message.",
}
_NOT_SUPPORTED = "not supported here; leave it out."
_SHOWABLE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_BUDGET = 1_000_000
_MAX_STOP_IDS = 64


def _sampling(limits: Limits) -> dict[str, Check]:
    return {
        "max_tokens": _tokens(limits),
        "n": check.number(1, limits.choices, whole=True),
        "temperature": check.number(0, 2),
        "top_p": check.number(0, 1, above=True),
        "top_k": check.number(-1, _MAX_BUDGET, whole=True),
        "min_p": check.number(0, 1),
        "frequency_penalty": check.number(-2, 2),
        "presence_penalty": check.number(-2, 2),
        "repetition_penalty": check.number(0.01, 10),
        "logit_bias": check.logit_bias(limits.vocabulary),
        "seed": check.number(-(2**63), 2**63 - 1, whole=True) if limits.seed else _no_seed,
        "stop": check.stop,
        "stop_token_ids": check.token_ids(_MAX_STOP_IDS, limits.vocabulary),
        "include_stop_str_in_output": check.flag,
        "ignore_eos": check.flag,
        "min_tokens": check.number(0, INT32, whole=True),
        "skip_special_tokens": check.flag,
        "response_format": response_format,
        "structured_outputs": structure,
        "stream": check.flag,
        "stream_options": check.stream_options,
        "return_token_ids": check.flag,
        "thinking_token_budget": check.number(0, _MAX_BUDGET, whole=True),
    }


def _completion(limits: Limits) -> dict[str, Check]:
    return {
        "prompt": check.prompt(limits.vocabulary),
        "logprobs": check.number(0, limits.top_logprobs, whole=True),
    }


def _chat(limits: Limits) -> dict[str, Check]:
    return {
        "messages": messages.messages,
        "max_completion_tokens": _tokens(limits),
        "logprobs": check.flag,
        "top_logprobs": check.number(0, limits.top_logprobs, whole=True),
        "tools": messages.tools,
        "tool_choice": messages.tool_choice,
        "parallel_tool_calls": check.flag,
        "reasoning_effort": check.one_of(*_EFFORTS),
        "include_reasoning": check.flag,
        "add_generation_prompt": check.flag,
        "continue_final_message": check.flag,
        "chat_template_kwargs": check.template_switches,
    }


_WHOLE = frozenset(
    {
        "n",
        "best_of",
        "max_tokens",
        "max_completion_tokens",
        "min_tokens",
        "top_k",
        "seed",
        "logprobs",
        "top_logprobs",
        "prompt_logprobs",
        "thinking_token_budget",
    }
)
_WHOLE_LISTS = frozenset({"prompt", "stop_token_ids"})


def with_whole_numbers(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body with 4 for 4.0 in fields for whole numbers: JSON treats both alike."""
    return {name: _whole(name, value) for name, value in body.items()}


def _whole(name: str, value: Any) -> Any:
    if name in _WHOLE:
        return whole_number(value)
    if name in _WHOLE_LISTS and isinstance(value, list):
        return [whole_number(one) for one in value]
    return value


_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _tokens(limits: Limits) -> Check:
    if limits.context_tokens is None:
        return check.number(1, INT32, whole=True)
    return check.number(1, limits.context_tokens, whole=True, of=", the model's context")


def _no_seed(field: str, _value: Any) -> None:
    raise refuse(field, "the CPU engine takes none; ask for temperature 0 instead.")


@lru_cache(maxsize=32)
def _checks(endpoint: Endpoint, limits: Limits) -> Mapping[str, Check]:
    return _sampling(limits) | (_chat(limits) if endpoint == "chat" else _completion(limits))


def fields_taken(endpoint: Endpoint) -> frozenset[str]:
    """Every field that a request may have, whatever it may say; for the API's description."""
    return frozenset({*_checks(endpoint, USUAL_LIMITS), *_NOT_FOR_THE_MODEL, *_ONLY})


def _known(body: Mapping[str, Any], allowed: Mapping[str, Check]) -> dict[str, Any]:
    """Return the fields for the engine; null counts as absent, as in OpenAI's API."""
    known = {}
    for field, value in body.items():
        if value is None or (field in _ONLY and value == _ONLY[field]):
            continue
        if field in _NOT_FOR_THE_MODEL:
            _NOT_FOR_THE_MODEL[field](field, value)
        elif field in allowed:
            known[field] = value
        else:
            shown = field if _SHOWABLE.fullmatch(field) else "a field"
            raise refuse(shown, _INSTEAD.get(field, _NOT_SUPPORTED))
    return known


def _check_text(body: Mapping[str, Any]) -> None:
    try:
        orjson.dumps(body)
    except TypeError:
        fault = first_fault(body)
        if fault is None or fault.place is None:
            why = "The body holds what JSON in UTF-8 cannot carry, or too many levels."
            raise RequestRefusedError(why) from None
        raise refuse(fault.place, fault.why) from None


def accepted_fields(
    body: Mapping[str, Any], endpoint: Endpoint, limits: Limits = USUAL_LIMITS
) -> dict[str, Any]:
    """Return the fields of `body` for the engine, normalised. `body` itself is not changed.

    Raises `RequestRefusedError` for the first field that is unknown, unsafe or out of bounds.
    """
    _check_text(body)
    allowed = _checks(endpoint, limits)
    fields = _known(body, allowed)
    for field, value in fields.items():
        allowed[field](field, value)
    required = "messages" if endpoint == "chat" else "prompt"
    if required not in fields:
        raise refuse(required, "is missing.")
    check_together(fields)
    fields |= bounded_structure(fields, limits.structured_outputs)
    return _normalised(fields)


def fields_of(call: EngineCall, limits: Limits) -> dict[str, Any]:
    """Return the call's fields, checked within the engine's `limits` unless they were before.

    Raises what `accepted_fields` raises.
    """
    if call.fields is not None:
        return dict(call.fields)
    return accepted_fields(call.body, call.endpoint, limits.within(call.limits))


def _normalised(fields: dict[str, Any]) -> dict[str, Any]:
    if "messages" in fields:
        # vLLM's `ChatCompletionRequest` changes its messages in place, and the log must store what
        # the client sent.
        fields["messages"] = [dict(message) for message in fields["messages"]]
    if "prompt" in fields:
        fields["prompt"] = check.only_prompt(fields["prompt"])
    if "stream_options" in fields:
        usage = fields["stream_options"].get("include_usage")
        fields["stream_options"] = {} if usage is None else {"include_usage": usage}
    return fields


def too_long(endpoint: Endpoint, context_tokens: int | None) -> RequestRefusedError:
    """Return the refusal of a prompt that leaves no room for an answer."""
    room = "the model's context" if context_tokens is None else f"{context_tokens} tokens"
    return RequestRefusedError(
        f"The prompt is too long: prompt and answer together may have {room}.",
        param="messages" if endpoint == "chat" else "prompt",
    )


def overruled(call: EngineCall) -> dict[str, Any]:
    """Return the fields that the server sets, whatever the client sent.

    vLLM itself puts `chatcmpl-` or `cmpl-` before the request id, and refuses `@` and `/` in a
    cache salt.
    """
    fields: dict[str, Any] = {
        "model": None if call.version == BASE else call.version,
        "request_id": call.id.removeprefix("chatcmpl-").removeprefix("cmpl-"),
        "priority": call.priority,
    }
    if call.cache_salt is not None:
        fields["cache_salt"] = sha256(call.cache_salt.encode()).hexdigest()
    return fields
