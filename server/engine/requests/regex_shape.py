"""Measures from a regular expression's text how much it repeats."""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"\\.|\[\^?(?:\\.|[^\]\\])*+\]?|\((?:\?[:=!]|\?<[=!]|\?P?<\w+>)?|\)|\||[*+?]\??"
    r"|\{\s*(?P<low>\d*)\s*,?\s*(?P<high>\d*)\s*\}\??|.",
    re.DOTALL,
)
"""An escape, a class, the start or end of a group, a bar, a quantifier, or a character. A class
that is never closed extends to the end, so that no character is read twice."""

_ENDLESS = 10**12
"""Cap on sizes, above every bound, so that products stay small numbers."""


@dataclass(frozen=True, slots=True)
class RegexShape:
    """The properties on which a pattern's cost depends.

    `quantifiers` is their number. `depth` is how deep they are nested (`((a+)+)+` has three).
    `size` is the number of atoms once counted repetitions are written out (`(ab){3}` has six; `*`,
    `+` and `{2,}` add no further copies).
    """

    quantifiers: int
    depth: int
    size: int


@dataclass(slots=True)
class _Group:
    """A group that is still open, and its last item, which a quantifier may still follow."""

    depth: int = 0
    size: int = 0
    last_depth: int = 0
    last_size: int = 0

    def add(self, depth: int, size: int) -> None:
        """Count the last item and start a new one."""
        self.close()
        self.last_depth, self.last_size = depth, size

    def repeat(self, times: int) -> None:
        """Apply a quantifier to the last item."""
        self.last_depth += 1
        self.last_size = min(self.last_size * times, _ENDLESS)

    def close(self) -> None:
        """Count the last item."""
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
        """Return the shape of the tokens read so far."""
        while len(self.groups) > 1:
            self._leave()
        whole = self.groups[0]
        whole.close()
        return RegexShape(self.quantifiers, whole.depth, whole.size)


def _times(token: re.Match[str]) -> int:
    """Return how many copies of its item a quantifier stands for; one for `*`, `+` and `?`."""
    numbers = [int(digits[:12]) for digits in (token["low"], token["high"]) if digits]
    return max([1, *numbers])


def regex_shape(pattern: str) -> RegexShape:
    """Measure `pattern`, in time linear in its length; it need not be valid."""
    reader = _Reader()
    for token in _TOKEN.finditer(pattern):
        reader.take(token)
    return reader.shape()
