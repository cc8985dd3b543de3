"""Which request bodies reach an engine: an allow-list of fields, and bounds on what they hold.

What is not listed is refused rather than ignored: an ignored field changes the answer in silence,
and some of vLLM's extensions are unsafe in a client's hands (request templates, embeddings, KV
transfer, media). Messages name the field and hold nothing of what was sent.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from server.engine.base import BASE, Endpoint, EngineCall
from server.engine.errors import RequestRefusedError

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

Check = Callable[[str, Any], None]
"""Raises `RequestRefusedError` for the named field's value."""

_ROLES = ("system", "developer", "user", "assistant", "tool")
_TEMPLATE_SWITCHES = frozenset({"enable_thinking", "thinking"})
_SHOWABLE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_INT32 = 2**31 - 1
_MAX_BIASES = 1024
_MAX_STOP_IDS = 64
_MAX_BUDGET = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for. `seed`: vLLM's CPU engine can die of one (chunked prefill)."""

    choices: int = 8
    top_logprobs: int = 20
    seed: bool = True


def _refuse(field: str, why: str) -> RequestRefusedError:
    return RequestRefusedError(f"{field}: {why}", param=field)


def _number(low: float, high: float, *, whole: bool = False) -> Check:
    kind = "a whole number" if whole else "a number"

    def check(field: str, value: Any) -> None:
        good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not (good and math.isfinite(value) and low <= value <= high):
            raise _refuse(field, f"must be {kind} from {low:g} to {high:g}.")

    return check


def _flag(field: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _refuse(field, "must be true or false.")


def _token_ids(limit: int) -> Check:
    def check(field: str, value: Any) -> None:
        if not isinstance(value, list) or len(value) > limit or not all(map(_is_id, value)):
            raise _refuse(field, f"must be a list of at most {limit} token ids.")

    return check


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INT32


def _logit_bias(field: str, value: Any) -> None:
    if not isinstance(value, dict) or len(value) > _MAX_BIASES:
        raise _refuse(field, f"must map at most {_MAX_BIASES} token ids to numbers.")
    for token, bias in value.items():
        if not token.isascii() or not token.isdigit() or int(token) > _INT32:
            raise _refuse(field, "its keys must be token ids.")
        _number(-100, 100)(field, bias)


def _messages(field: str, value: Any) -> None:
    if not isinstance(value, list) or not value:
        raise _refuse(field, "must be a list with at least one message.")
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise _refuse(field, f"each message needs a role: {', '.join(_ROLES)}.")
        content = message.get("content")
        if not isinstance(content, str | list | None):
            raise _refuse(field, "each content must be a text or a list of text parts.")
        parts = content if isinstance(content, list) else []
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
            raise _refuse(field, "only text is answered here, no images, audio or files.")


def _prompt(field: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not value or not all(map(_is_id, value)):
        raise _refuse(field, "must be one text or one list of token ids; send others on their own.")


def _stream_options(field: str, value: Any) -> None:
    if not isinstance(value, dict) or not value.keys() <= {"include_usage", "include_obfuscation"}:
        raise _refuse(field, "only include_usage can be set.")
    for option in value.values():
        _flag(field, option)


def _template_switches(field: str, value: Any) -> None:
    if not isinstance(value, dict) or not value.keys() <= _TEMPLATE_SWITCHES:
        raise _refuse(field, f"only {' and '.join(sorted(_TEMPLATE_SWITCHES))} can be set.")
    for switch in value.values():
        _flag(field, switch)


def _anything(_field: str, _value: Any) -> None:
    """VLLM's own validation is enough."""


_SAMPLING: Mapping[str, Check] = {
    "max_tokens": _number(1, _INT32, whole=True),
    "n": _anything,  # with `Limits`, as are logprobs and seed
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _number(-1, _MAX_BUDGET, whole=True),
    "min_p": _number(0, 1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "repetition_penalty": _number(0.01, 10),
    "logit_bias": _logit_bias,
    "logprobs": _anything,
    "seed": _number(-(2**63), 2**63 - 1, whole=True),
    "stop": _anything,
    "stop_token_ids": _token_ids(_MAX_STOP_IDS),
    "include_stop_str_in_output": _flag,
    "ignore_eos": _flag,
    "min_tokens": _number(0, _INT32, whole=True),
    "skip_special_tokens": _flag,
    "response_format": _anything,
    "structured_outputs": _anything,
    "stream": _flag,
    "stream_options": _stream_options,
    "return_token_ids": _flag,
    "thinking_token_budget": _number(0, _MAX_BUDGET, whole=True),
}
_ALLOWED: Mapping[Endpoint, Mapping[str, Check]] = {
    "completion": {**_SAMPLING, "prompt": _prompt},
    "chat": {
        **_SAMPLING,
        "messages": _messages,
        "max_completion_tokens": _number(1, _INT32, whole=True),
        "top_logprobs": _anything,
        "tools": _anything,
        "tool_choice": _anything,
        "parallel_tool_calls": _flag,
        "reasoning_effort": _anything,
        "include_reasoning": _flag,
        "add_generation_prompt": _flag,
        "continue_final_message": _flag,
        "chat_template_kwargs": _template_switches,
    },
}


def _check_limits(fields: Mapping[str, Any], endpoint: Endpoint, limits: Limits) -> None:
    if "seed" in fields and not limits.seed:
        raise _refuse("seed", "the CPU engine takes none; ask for temperature 0 instead.")
    if "n" in fields:
        _number(1, limits.choices, whole=True)("n", fields["n"])
    if endpoint == "completion" and "logprobs" in fields:
        _number(0, limits.top_logprobs, whole=True)("logprobs", fields["logprobs"])
    if endpoint == "chat" and "logprobs" in fields:
        _flag("logprobs", fields["logprobs"])
    if "top_logprobs" in fields:
        _number(0, limits.top_logprobs, whole=True)("top_logprobs", fields["top_logprobs"])


def _known(fields: Mapping[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    known = {}
    for field, value in fields.items():
        if field in _ONLY and value == _ONLY[field]:
            continue
        if field not in allowed:
            shown = field if _SHOWABLE.fullmatch(field) else "a field"
            raise _refuse(shown, "not supported here; leave it out.")
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
        raise _refuse(required, "is missing.")
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
