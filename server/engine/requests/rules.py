"""Which request bodies reach an engine: an allow-list of fields, and bounds on what they hold.

What is not listed is refused rather than ignored: an ignored field changes the answer in silence,
and some of vLLM's extensions are unsafe in a client's hands (request templates, embeddings, KV
transfer, media). Messages name the field and hold nothing of what was sent.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from server.engine.base import BASE, Endpoint, EngineCall
from server.engine.errors import RequestRefusedError
from server.engine.requests import checks as check
from server.engine.requests.checks import INT32, Check, refuse

_DROPPED = frozenset(
    {
        "model",
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""OpenAI's fields that ask nothing of the model; `model` has been resolved by the caller."""

_ONLY: Mapping[str, Any] = {
    "use_beam_search": False,
    "echo": False,
    "best_of": 1,
    "modalities": ["text"],
}
"""Fields that may only say what happens anyway."""

_SHOWABLE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_BUDGET = 1_000_000
_MAX_STOP_IDS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for. `seed`: vLLM's CPU engine can die of one (chunked prefill)."""

    choices: int = 8
    top_logprobs: int = 20
    seed: bool = True


_SAMPLING: Mapping[str, Check] = {
    "max_tokens": check.number(1, INT32, whole=True),
    "n": check.anything,  # with `Limits`, as are logprobs and seed
    "temperature": check.number(0, 2),
    "top_p": check.number(0, 1),
    "top_k": check.number(-1, _MAX_BUDGET, whole=True),
    "min_p": check.number(0, 1),
    "frequency_penalty": check.number(-2, 2),
    "presence_penalty": check.number(-2, 2),
    "repetition_penalty": check.number(0.01, 10),
    "logit_bias": check.logit_bias,
    "logprobs": check.anything,
    "seed": check.number(-(2**63), 2**63 - 1, whole=True),
    "stop": check.stop,
    "stop_token_ids": check.token_ids(_MAX_STOP_IDS),
    "include_stop_str_in_output": check.flag,
    "ignore_eos": check.flag,
    "min_tokens": check.number(0, INT32, whole=True),
    "skip_special_tokens": check.flag,
    "response_format": check.anything,
    "structured_outputs": check.anything,
    "stream": check.flag,
    "stream_options": check.stream_options,
    "return_token_ids": check.flag,
    "thinking_token_budget": check.number(0, _MAX_BUDGET, whole=True),
}
_ALLOWED: Mapping[Endpoint, Mapping[str, Check]] = {
    "completion": {**_SAMPLING, "prompt": check.prompt},
    "chat": {
        **_SAMPLING,
        "messages": check.messages,
        "max_completion_tokens": check.number(1, INT32, whole=True),
        "top_logprobs": check.anything,
        "tools": check.tools,
        "tool_choice": check.tool_choice,
        "parallel_tool_calls": check.flag,
        "reasoning_effort": check.anything,
        "include_reasoning": check.flag,
        "add_generation_prompt": check.flag,
        "continue_final_message": check.flag,
        "chat_template_kwargs": check.template_switches,
    },
}


def _check_limits(fields: Mapping[str, Any], endpoint: Endpoint, limits: Limits) -> None:
    if "seed" in fields and not limits.seed:
        raise refuse("seed", "the CPU engine takes none; ask for temperature 0 instead.")
    if "n" in fields:
        check.number(1, limits.choices, whole=True)("n", fields["n"])
    if endpoint == "completion" and "logprobs" in fields:
        check.number(0, limits.top_logprobs, whole=True)("logprobs", fields["logprobs"])
    if endpoint == "chat" and "logprobs" in fields:
        check.flag("logprobs", fields["logprobs"])
    if "top_logprobs" in fields:
        check.number(0, limits.top_logprobs, whole=True)("top_logprobs", fields["top_logprobs"])


def _known(fields: Mapping[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    known = {}
    for field, value in fields.items():
        if field in _ONLY and value == _ONLY[field]:
            continue
        if field not in allowed:
            shown = field if _SHOWABLE.fullmatch(field) else "a field"
            raise refuse(shown, "not supported here; leave it out.")
        known[field] = value
    return known


def _check_text(body: Mapping[str, Any]) -> None:
    try:
        orjson.dumps(body)
    except TypeError as error:
        raise RequestRefusedError(
            "The body holds a lone surrogate, a number of over 64 bits, or too many levels."
        ) from error


def accepted_fields(
    body: Mapping[str, Any], endpoint: Endpoint, limits: Limits | None = None
) -> dict[str, Any]:
    """The fields of `body` for the engine; null counts as absent, as it does at OpenAI.

    Raises `RequestRefusedError` naming the first field that is unknown, unsafe or out of bounds.
    """
    _check_text(body)
    given = {name: value for name, value in body.items() if value is not None}
    fields = _known({k: v for k, v in given.items() if k not in _DROPPED}, _ALLOWED[endpoint])
    _check_limits(fields, endpoint, limits or Limits())
    for field, value in fields.items():
        _ALLOWED[endpoint][field](field, value)
    required = "messages" if endpoint == "chat" else "prompt"
    if required not in fields:
        raise refuse(required, "is missing.")
    if "stream_options" in fields:
        fields["stream_options"] = {
            k: v for k, v in fields["stream_options"].items() if k == "include_usage"
        }
    return fields


def overruled(call: EngineCall) -> dict[str, Any]:
    """The fields that the server sets, whatever the client sent.

    vLLM puts `chatcmpl-` or `cmpl-` before the request id, and takes no `@` or `/` in a salt.
    """
    fields: dict[str, Any] = {
        "model": None if call.version == BASE else call.version,
        "request_id": call.id.removeprefix("chatcmpl-").removeprefix("cmpl-"),
        "priority": call.priority,
    }
    if call.cache_salt is not None:
        fields["cache_salt"] = sha256(call.cache_salt.encode()).hexdigest()
    return fields
