"""What JSON can say and no text, log or template can carry: lone surrogates, bottomless nesting."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from server.engine.requests.paths import place

Path = tuple[str | int, ...]

NESTING_MAX = 64
"""Levels that a schema or a tool call's arguments may have. OpenAI's schemas end at 10 levels of
objects, which are some 30 of JSON; a chat template's recursive macro ends by Python's own limit at
about 150."""
TOO_DEEP = f"is nested in more than {NESTING_MAX} levels: flatten it."
_DIGITS_MAX = 4300  # `sys.get_int_max_str_digits()`
_LONG_NUMBER = re.compile(rf"[0-9]{{{_DIGITS_MAX + 1}}}")
_LOOKED_AT_MAX = 50_000
"""Values looked at to find the faulty one: some 20 ms of the event loop at most."""
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
    """What cannot be carried, and where; `place` is None where only the client's keys lead to it.

    `surrogate` marks the fault for which a strict JSON parser refuses a whole body.
    """

    place: str | None
    why: str
    surrogate: bool = False


def first_fault(value: Any, *, surrogates_only: bool = False) -> Fault | None:
    """The first part of `value` that no log and no engine takes; None where none was found."""
    for looked_at, (path, part) in enumerate(_parts(value)):
        if looked_at > _LOOKED_AT_MAX:
            return None
        fault = _fault(path, part)
        if fault is not None and (fault.surrogate or not surrogates_only):
            return fault
    return None


def lone_surrogate(body: bytes) -> Fault | None:
    """Where JSON that a strict parser refused holds a lone surrogate; None where none was found.

    JSON may hold them (RFC 8259, section 8.2): Python's parser reads them, the strict one does not.
    """
    if not _ESCAPED_SURROGATE.search(body):
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return first_fault(value, surrogates_only=True)


def nests_deeper(value: Any, levels: int = NESTING_MAX) -> bool:
    """Whether objects and lists lie within each other in more than `levels` levels."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        inner = (part for outer in level for part in _inner(outer))
        level = [part for part in inner if isinstance(part, dict | list)]
    return bool(level)


def _inner(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def text_nests_deeper(text: str, levels: int = NESTING_MAX) -> bool:
    """Whether JSON written in `text` nests deeper, so far as it is JSON.

    Counts brackets outside strings: a parser that recurses meets no more, whatever is wrong later.
    """
    if text.count("[") + text.count("{") <= levels:
        return False
    brackets = (_STEP[mark] for mark in _STRING.sub("", text) if mark in _STEP)
    return max(accumulate(brackets), default=0) > levels


def fault_in_text(text: str) -> str | None:
    """What in JSON written as a text ends its parser, or a template that shows it; None: nothing.

    A text that is no JSON has no such fault: vLLM takes it for an empty object.
    """
    if text_nests_deeper(text):
        return TOO_DEEP
    if lone_surrogate(text.encode()) is not None:
        return SURROGATE
    if _LONG_NUMBER.search(text) and _overflows(text):
        return f"holds a number of over {_DIGITS_MAX} digits."
    return None


def _overflows(text: str) -> bool:
    """Whether Python refuses to read a number in it, for the time that takes."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    except ValueError:
        return True
    return False


def _parts(value: Any) -> Iterator[tuple[Path, Any]]:
    """`value` and all within it in order, each with its path; without recursion."""
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
