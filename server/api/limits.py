"""What a chat or completion request may ask for (DESIGN; notes on known weaknesses of engines)."""

from collections.abc import Mapping
from typing import Any

from server.config import LimitsConfig
from server.errors import LimitError


def check_limits(body: Mapping[str, Any], limits: LimitsConfig) -> None:
    """Refuse what would be unsafe or would mix records; raises `LimitError`.

    Everything else is the engine's to judge.
    """
    _whole_number(body, "n", low=1, high=limits.choices)
    _whole_number(body, "top_logprobs", low=0, high=limits.top_logprobs)
    _whole_number(body, "prompt_logprobs", low=0, high=limits.top_logprobs)
    if not isinstance(body.get("logprobs"), bool):
        _whole_number(body, "logprobs", low=0, high=limits.top_logprobs)
    if body.get("best_of") not in (None, 1):
        raise LimitError("best_of", "is not supported; use n")
    if body.get("use_beam_search"):
        raise LimitError("use_beam_search", "beam search is not supported; use n with sampling")
    if body.get("priority") is not None:
        raise LimitError("priority", "cannot be set by a client; leave it out")
    _one_prompt(body)


def _whole_number(body: Mapping[str, Any], field: str, *, low: int, high: int) -> None:
    value = body.get(field)
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise LimitError(field, f"must be a whole number from {low} to {high}")


def _one_prompt(body: Mapping[str, Any]) -> None:
    prompt = body.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return
    token_ids = isinstance(prompt, list) and all(type(item) is int for item in prompt)
    if not token_ids or not prompt:
        raise LimitError(
            "prompt", "must be one string or one list of token ids, not a list of them"
        )
