"""Checks of single request fields. Messages name the field and hold nothing of what was sent."""

import math
from collections.abc import Callable
from typing import Any

from server.engine.errors import RequestRefusedError

Check = Callable[[str, Any], None]
"""Raises `RequestRefusedError` for the named field's value."""

INT32 = 2**31 - 1
STOPS_MAX = 4
"""OpenAI's number, and vLLM's own (`VLLM_MAX_STOP_STRINGS`)."""

_TEMPLATE_SWITCHES = frozenset({"enable_thinking", "thinking"})
_BIASES_MAX = 1024


def refuse(field: str, why: str) -> RequestRefusedError:
    """The refusal of a field; `field` is its path, as in `stop` or `messages[1].content`."""
    return RequestRefusedError(f"{field}: {why}", param=field)


def number(
    low: float, high: float, *, whole: bool = False, above: bool = False, of: str = ""
) -> Check:
    """A finite number within bounds, both included; `above` leaves the lower one out.

    `of` is what the message says of the upper bound.
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
    """True or false."""
    if not isinstance(value, bool):
        raise refuse(field, "must be true or false.")


def text(field: str, value: Any) -> None:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise refuse(field, "must be a text that is not empty.")


def optional_text(field: str, value: Any) -> None:
    """A text or null."""
    if not isinstance(value, str | None):
        raise refuse(field, "must be a text.")


def one_of(*words: str, why: str = "") -> Check:
    """One of a few words; `why` the others are not taken."""

    def check(field: str, value: Any) -> None:
        if value not in words:
            raise refuse(field, f"must be {' or '.join(words)}{why}.")

    return check


def token_ids(limit: int, vocabulary: int | None = None) -> Check:
    """A short list of the model's token ids."""
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
    """OpenAI's map from token ids to biases."""
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
    """One text or one list of token ids, or a list with one of those."""
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
    """The prompt in a list of one, as clients with batches send it; else `value` itself."""
    alone = isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list)
    return value[0] if alone else value


def stream_options(field: str, value: Any) -> None:
    """Only what is passed on, or is so anyway."""
    if not isinstance(value, dict) or not value.keys() <= {"include_usage", "include_obfuscation"}:
        raise refuse(field, "only include_usage can be set.")
    for option, wanted in value.items():
        flag(f"{field}.{option}", wanted)
    if value.get("include_obfuscation"):
        raise refuse(f"{field}.include_obfuscation", "chunks are not padded here; leave it out.")


def template_switches(field: str, value: Any) -> None:
    """The chat template's switches that are known to be harmless."""
    if not isinstance(value, dict) or not value.keys() <= _TEMPLATE_SWITCHES:
        raise refuse(field, f"only {' and '.join(sorted(_TEMPLATE_SWITCHES))} can be set.")
    for switch, wanted in value.items():
        flag(f"{field}.{switch}", wanted)


def anything(_field: str, _value: Any) -> None:
    """VLLM's own validation is enough."""


def stop(field: str, value: Any) -> None:
    """One text or a few."""
    texts = [value] if isinstance(value, str) else value
    good = isinstance(texts, list) and len(texts) <= STOPS_MAX
    if not good or not all(isinstance(one, str) and one for one in texts):
        raise refuse(field, f"must be a text or a list of at most {STOPS_MAX} texts, none empty.")


def labels(field: str, value: Any) -> None:
    """OpenAI's labels of a request, which the log keeps."""
    if not isinstance(value, dict):
        raise refuse(field, "must be an object.")
