"""Who asks what: several hundred everyday questions, each asked once."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from demo.smollm2.people import Person

QUESTIONS = tuple(Path(__file__).with_name("questions.txt").read_text(encoding="utf-8").split("\n"))
HELD_OUT_SHARE = 0.4
"""Share of the questions that only held-out people ask."""
OPENINGS = ("", "Quick question: ", "Hello! ", "Please tell me: ", "I was wondering. ")
"""In the order of use: only when all questions were asked is one asked with an opening."""


@dataclass(frozen=True, slots=True)
class PlainVisit:
    """A person with a question."""

    user: Person
    text: str


class Crowd:
    """The people and their questions, those held out apart. Nothing is asked twice."""

    def __init__(
        self, people: Sequence[Person], is_held_out: Callable[[str], bool], seed: int
    ) -> None:
        rng = random.Random(f"crowd-{seed}")
        asked = [question for question in QUESTIONS if question]
        rng.shuffle(asked)
        held_out = round(len(asked) * HELD_OUT_SHARE)
        self._rng = rng
        self._held_out = [one for one in people if is_held_out(one.name)]
        self._others = [one for one in people if not is_held_out(one.name)]
        self._for_held_out = product(OPENINGS, asked[:held_out])
        self._for_others = product(OPENINGS, asked[held_out:])

    def visits(self, count: int) -> list[PlainVisit]:
        """Draw visits of people who are trained on. Raises StopIteration when all is asked."""
        return [self._visit(self._others, *next(self._for_others)) for _ in range(count)]

    def held_out_visits(self, count: int) -> list[PlainVisit]:
        """Draw visits of held-out people. Raises StopIteration when all is asked."""
        return [self._visit(self._held_out, *next(self._for_held_out)) for _ in range(count)]

    def _visit(self, people: Sequence[Person], opening: str, question: str) -> PlainVisit:
        return PlainVisit(self._rng.choice(people), opening + question)
