"""The people of this demo: what each of them prefers, with noise, and the judge of the gate.

The judge is a panel of five others, `judge = "demo.smollm2.people:panel"`.
"""

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from demo.smollm2.taste import PLAIN, TasteWeights, worth

SHARPNESS = 2.0
"""Logits per unit of worth (Bradley-Terry)."""
WEIGHT_SPREAD = 0.3
FLIP = 0.05
"""Share of votes that come out the wrong way."""
PANEL_SEED, PANEL_SIZE = 9002, 5
A_BETTER, B_BETTER, EQUAL = 1.0, 0.0, 0.5


@dataclass(frozen=True, slots=True)
class Person:
    """One simulated person with weights of their own."""

    name: str
    weights: TasteWeights

    def prefers(self, question: str, a: str, b: str, rng: random.Random) -> bool:
        """Draw whether the person prefers `a` to `b`."""
        gap = worth(question, a, self.weights) - worth(question, b, self.weights)
        decided = rng.random() < 1 / (1 + math.exp(-SHARPNESS * gap))
        return decided ^ (rng.random() < FLIP)


class PlainPanel:
    """A judge that decides by the majority of a few people.

    The noise is drawn from a hash of the question and the answers in their order, so that the same
    question gets the same verdict.
    """

    def __init__(self, people: Sequence[Person]) -> None:
        self._people = tuple(people)

    async def compare(self, conversation: Sequence[Mapping[str, Any]], a: str, b: str) -> float:
        """Return 1.0 if `a` is better, 0.0 if `b` is, 0.5 for equal texts or votes."""
        question = str(conversation[-1].get("content") or "")
        key = hashlib.blake2b(json.dumps([question, a, b]).encode(), digest_size=16).digest()
        rng = random.Random(key)
        votes = sum(person.prefers(question, a, b, rng) for person in self._people)
        against = len(self._people) - votes
        if a == b or votes == against:
            return EQUAL
        return A_BETTER if votes > against else B_BETTER


def make_people(count: int, *, seed: int, prefix: str = "person") -> tuple[Person, ...]:
    """Return `count` people, named `person-000` and so on, whose weights scatter around `PLAIN`."""
    rng = random.Random(f"{prefix}-{seed}")
    return tuple(Person(f"{prefix}-{index:03d}", _scattered(rng)) for index in range(count))


def panel() -> PlainPanel:
    """Return the judge: five people who are not among the users."""
    return PlainPanel(make_people(PANEL_SIZE, seed=PANEL_SEED, prefix="panel"))


def _scattered(rng: random.Random) -> TasteWeights:
    spread = (math.exp(rng.gauss(0, WEIGHT_SPREAD)) for _ in astuple(PLAIN))
    return TasteWeights(*(one * factor for one, factor in zip(astuple(PLAIN), spread, strict=True)))
