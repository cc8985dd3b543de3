"""How much a regular expression repeats, told from its text alone."""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"\\.|\[\^?(?:\\.|[^\]\\])*+\]?|\((?:\?[:=!]|\?<[=!]|\?P?<\w+>)?|\)|\||[*+?]\??"
    r"|\{\s*(?P<low>\d*)\s*,?\s*(?P<high>\d*)\s*\}\??|.",
    re.DOTALL,
)
"""An escape, a class, the beginning or end of a group, a bar, a quantifier, or a character. A class
that is never closed reaches to the end, so that no character is looked at twice."""

_ENDLESS = 10**12
"""Stands for a size beyond all bounds, so that products stay small numbers."""


@dataclass(frozen=True, slots=True)
class RegexShape:
    """What a pattern's cost depends on.

    `quantifiers`: how many there are. `depth`: how many stand within each other
    (`((a+)+)+` has three). `size`: atoms once counted repetitions are written out (`(ab){3}` has
    six; `*`, `+` and `{2,}` repeat a counted part no further).
    """

    quantifiers: int
    depth: int
    size: int


@dataclass(slots=True)
class _Group:
    """A group that is still open: what it holds, and its last item, which may be repeated yet."""

    depth: int = 0
    size: int = 0
    last_depth: int = 0
    last_size: int = 0

    def add(self, depth: int, size: int) -> None:
        """Close the last item and begin a new one."""
        self.close()
        self.last_depth, self.last_size = depth, size

    def repeat(self, times: int) -> None:
        """Put a quantifier on the last item."""
        self.last_depth += 1
        self.last_size = min(self.last_size * times, _ENDLESS)

    def close(self) -> None:
        """Count the last item in."""
        self.depth = max(self.depth, self.last_depth)
        self.size = min(self.size + self.last_size, _ENDLESS)
        self.last_depth = self.last_size = 0


@dataclass(slots=True)
class _Reader:
    """Reads a pattern token by token; a group that is never closed counts as closed at the end."""

    groups: list[_Group] = field(default_factory=lambda: [_Group()])
    quantifiers: int = 0

    def take(self, token: re.Match[str]) -> None:
        """Read one token."""
        text = token.group()
        if text[0] == "(":
            self.groups.append(_Group())
        elif text == ")":
            self._leave()
        elif text[0] in "*+?" or token["low"] is not None:
            self.quantifiers += 1
            self.groups[-1].repeat(_times(token))
        elif text != "|":
            self.groups[-1].add(0, 1)

    def _leave(self) -> None:
        if len(self.groups) == 1:
            return
        inner = self.groups.pop()
        inner.close()
        self.groups[-1].add(inner.depth, inner.size)

    def shape(self) -> RegexShape:
        """What was read."""
        while len(self.groups) > 1:
            self._leave()
        whole = self.groups[0]
        whole.close()
        return RegexShape(self.quantifiers, whole.depth, whole.size)


def _times(token: re.Match[str]) -> int:
    """How often a quantifier writes its item out; `*`, `+` and `?` once."""
    numbers = [int(digits[:12]) for digits in (token["low"], token["high"]) if digits]
    return max([1, *numbers])


def regex_shape(pattern: str) -> RegexShape:
    """Measure `pattern`, in time linear in its length; it need not be valid."""
    reader = _Reader()
    for token in _TOKEN.finditer(pattern):
        reader.take(token)
    return reader.shape()
