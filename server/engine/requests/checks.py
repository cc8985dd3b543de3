"""Checks of single request fields. Messages name the field and quote nothing of the request."""

import math
from collections.abc import Callable
from typing import Any

from server.engine.errors import RequestRefusedError

Check = Callable[[str, Any], None]
"""Raises `RequestRefusedError` for a bad value of the named field."""

INT32 = 2**31 - 1
STOPS_MAX = 4
"""OpenAI's maximum of stop strings, and vLLM's (`VLLM_MAX_STOP_STRINGS`)."""

_TEMPLATE_SWITCHES = frozenset({"enable_thinking", "thinking"})
_BIASES_MAX = 1024


def refuse(field: str, why: str) -> RequestRefusedError:
    """Return the refusal of a field; `field` is a path such as `stop` or `messages[1].content`."""
    return RequestRefusedError(f"{field}: {why}", param=field)


def number(
    low: float, high: float, *, whole: bool = False, above: bool = False, of: str = ""
) -> Check:
    """Return the check for a finite number from `low` to `high`.

    Args:
        low: The lower bound.
        high: The upper bound, inclusive.
        whole: Whether the number must be whole.
        above: Whether the lower bound is exclusive.
        of: What the message says about the upper bound.

    """
    kind = "a whole number" if whole else "a number"
    bounds = f"{'above' if above else 'from'} {_shown(low)} to {_shown(high)}{of}"

    def check(field: str, value: Any) -> None:
        good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not (good and math.isfinite(value) and low <= value <= high) or (above and value == low):
            raise refuse(field, f"must be {kind} {bounds}.")

    return check


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def flag(field: str, value: Any) -> None:
    """Require a boolean."""
    if not isinstance(value, bool):
        raise refuse(field, "must be true or false.")


def text(field: str, value: Any) -> None:
    """Require a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise refuse(field, "must be a text that is not empty.")


def optional_text(field: str, value: Any) -> None:
    """Require a string or null."""
    if not isinstance(value, str | None):
        raise refuse(field, "must be a text.")


def one_of(*words: str, why: str = "") -> Check:
    """Return the check for one of `words`; `why` says why no other is allowed."""

    def check(field: str, value: Any) -> None:
        if value not in words:
            raise refuse(field, f"must be {' or '.join(words)}{why}.")

    return check


def token_ids(limit: int, vocabulary: int | None = None) -> Check:
    """Return the check for a list of at most `limit` token ids of the model."""
    below = INT32 + 1 if vocabulary is None else vocabulary

    def check(field: str, value: Any) -> None:
        if not isinstance(value, list) or len(value) > limit:
            raise refuse(field, f"must be a list of at most {limit} token ids.")
        if not all(_is_id(one, below) for one in value):
            raise refuse(field, f"each must be a token id: a whole number from 0 to {below - 1}.")

    return check


def _is_id(value: Any, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def logit_bias(vocabulary: int | None = None) -> Check:
    """Return the check for OpenAI's map from token ids to biases."""
    below = INT32 + 1 if vocabulary is None else vocabulary
    bias = number(-100, 100)

    def check(field: str, value: Any) -> None:
        if not isinstance(value, dict) or len(value) > _BIASES_MAX:
            raise refuse(field, f"must map at most {_BIASES_MAX} token ids to numbers.")
        for token, by in value.items():
            if not token.isascii() or not token.isdigit() or len(token) > 10 or int(token) >= below:  # noqa: PLR2004  (digits of an int32: longer ones take long to read)
                raise refuse(field, f"its keys must be token ids from 0 to {below - 1}.")
            bias(field, by)

    return check


def prompt(vocabulary: int | None = None) -> Check:
    """Return the check for a string or a list of token ids, or a list with one of those."""
    below = INT32 + 1 if vocabulary is None else vocabulary

    def check(field: str, value: Any) -> None:
        one = only_prompt(value)
        if isinstance(one, str):
            return
        if not isinstance(one, list) or not one or not all(_is_id(part, below) for part in one):
            why = (
                f"must be one text or one list of token ids (0 to {below - 1}); "
                "send others on their own."
            )
            raise refuse(field, why)

    return check


def only_prompt(value: Any) -> Any:
    """Return the prompt of a list with one prompt, as batching clients send; else `value`."""
    alone = isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list)
    return value[0] if alone else value


def stream_options(field: str, value: Any) -> None:
    """Require only options that are passed on or that describe the default behaviour."""
    if not isinstance(value, dict) or not value.keys() <= {"include_usage", "include_obfuscation"}:
        raise refuse(field, "only include_usage can be set.")
    for option, wanted in value.items():
        flag(f"{field}.{option}", wanted)
    if value.get("include_obfuscation"):
        raise refuse(f"{field}.include_obfuscation", "chunks are not padded here; leave it out.")


def template_switches(field: str, value: Any) -> None:
    """Require only switches of the chat template that are known to be harmless."""
    if not isinstance(value, dict) or not value.keys() <= _TEMPLATE_SWITCHES:
        raise refuse(field, f"only {' and '.join(sorted(_TEMPLATE_SWITCHES))} can be set.")
    for switch, wanted in value.items():
        flag(f"{field}.{switch}", wanted)


def anything(_field: str, _value: Any) -> None:
    """Accept any value; another place has checked it."""


def stop(field: str, value: Any) -> None:
    """Require a string or a list of at most `STOPS_MAX` strings."""
    texts = [value] if isinstance(value, str) else value
    good = isinstance(texts, list) and len(texts) <= STOPS_MAX
    if not good or not all(isinstance(one, str) and one for one in texts):
        raise refuse(field, f"must be a text or a list of at most {STOPS_MAX} texts, none empty.")


def labels(field: str, value: Any) -> None:
    """Require an object: OpenAI's `metadata`, which the log stores."""
    if not isinstance(value, dict):
        raise refuse(field, "must be an object.")
