"""Finds JSON values that no string, log or template can hold: lone surrogates, deep nesting."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from server.engine.requests.paths import place

Path = tuple[str | int, ...]

NESTING_MAX = 64
"""Maximum nesting of a tool's schema or a tool call's arguments. OpenAI allows schemas 10 levels of
objects, about 30 levels of JSON; a recursive macro of a chat template reaches Python's recursion
limit at about 150."""
TOO_DEEP = f"is nested in more than {NESTING_MAX} levels: flatten it."
_DIGITS_MAX = 4300  # `sys.get_int_max_str_digits()`
_LONG_NUMBER = re.compile(rf"[0-9]{{{_DIGITS_MAX + 1}}}")
_LOOKED_AT_MAX = 50_000
"""Maximum number of values searched for the faulty one; takes at most about 20 ms."""
_BODY_LEVELS_MAX = 254  # what orjson writes
_WHOLE_NUMBER_MAX = 2**64
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}

SURROGATE = (
    "holds half of a surrogate pair (an escape from \\ud800 to \\udfff by itself), which is no "
    "character: send whole characters."
)
SURROGATE_KEY = "one of its keys " + SURROGATE


@dataclass(frozen=True, slots=True)
class Fault:
    """A value that cannot be stored or sent on.

    `place` is None if the path consists of the client's own keys. `surrogate` marks a lone
    surrogate, for which a strict JSON parser refuses the whole body.
    """

    place: str | None
    why: str
    surrogate: bool = False


def first_fault(value: Any, *, surrogates_only: bool = False) -> Fault | None:
    """Return the first fault in `value`, or None if none was found."""
    for looked_at, (path, part) in enumerate(_parts(value)):
        if looked_at > _LOOKED_AT_MAX:
            return None
        fault = _fault(path, part)
        if fault is not None and (fault.surrogate or not surrogates_only):
            return fault
    return None


def lone_surrogate(body: bytes) -> Fault | None:
    """Return the first lone surrogate in JSON that a strict parser refused, or None.

    JSON may contain lone surrogates (RFC 8259, section 8.2). Python's parser accepts them; orjson
    does not.
    """
    if not _ESCAPED_SURROGATE.search(body):
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return first_fault(value, surrogates_only=True)


def nests_deeper(value: Any, levels: int = NESTING_MAX) -> bool:
    """Return whether objects and lists are nested more than `levels` deep."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        inner = (part for outer in level for part in _inner(outer))
        level = [part for part in inner if isinstance(part, dict | list)]
    return bool(level)


def _inner(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def text_nests_deeper(text: str, levels: int = NESTING_MAX) -> bool:
    """Return whether JSON in `text` is nested more than `levels` deep; it need not be valid.

    Counts brackets outside strings, which bounds the depth that a recursive parser reaches.
    """
    if text.count("[") + text.count("{") <= levels:
        return False
    brackets = (_STEP[mark] for mark in _STRING.sub("", text) if mark in _STEP)
    return max(accumulate(brackets), default=0) > levels


def fault_in_text(text: str) -> str | None:
    """Return what in a string of JSON would crash a parser or a chat template, or None.

    A string that is not JSON has no such fault: vLLM reads it as an empty object.
    """
    if text_nests_deeper(text):
        return TOO_DEEP
    if lone_surrogate(text.encode()) is not None:
        return SURROGATE
    if _LONG_NUMBER.search(text) and _overflows(text):
        return f"holds a number of over {_DIGITS_MAX} digits."
    return None


def _overflows(text: str) -> bool:
    """Return whether it holds a number with too many digits for Python to parse."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    except ValueError:
        return True
    return False


def _parts(value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield `value` and everything in it, in order and with paths; does not recurse."""
    yield (), value
    waiting = [_children((), value)]
    while waiting:
        child = next(waiting[-1], None)
        if child is None:
            waiting.pop()
            continue
        yield child
        if len(child[0]) <= _BODY_LEVELS_MAX:
            waiting.append(_children(*child))


def _children(path: Path, part: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(part, dict):
        return (((*path, key), inner) for key, inner in part.items())
    if isinstance(part, list):
        return (((*path, index), inner) for index, inner in enumerate(part))
    return iter(())


def _fault(path: Path, part: Any) -> Fault | None:
    if isinstance(part, str) and _SURROGATE.search(part):
        return Fault(place(path), SURROGATE, surrogate=True)
    if isinstance(part, dict) and any(_SURROGATE.search(key) for key in part):
        return Fault(place(path), SURROGATE_KEY, surrogate=True)
    if isinstance(part, int) and not -(2**63) <= part < _WHOLE_NUMBER_MAX:
        return Fault(place(path), "is a number of over 64 bits.")
    if isinstance(part, dict | list) and len(path) >= _BODY_LEVELS_MAX:
        return Fault(place(path), f"is nested in more than {_BODY_LEVELS_MAX} levels: flatten it.")
    return None
