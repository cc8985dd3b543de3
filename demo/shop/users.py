"""Bramblewick's simulated users and how they judge answers.

An honest user has weights and a threshold of their own, drawn around the hidden utility, and
sometimes errs; a few users rate at random. All noise comes from the given random generator.
"""

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Literal

from demo.shop.taste import HIDDEN, Weights, utility
from demo.shop.world import ShopQuestion, answer

SHARPNESS = 1.8
"""Logits per unit of utility: how strongly a difference in utility decides a judgement."""
WEIGHT_SPREAD = 0.3
THRESHOLD_MEAN, THRESHOLD_SPREAD = 1.6, 0.4
TIE_WITHIN, BOTH_BAD_BELOW, CANDOUR = 0.3, 1.0, 0.8
"""Differences in utility, and how often a user who feels so says "equally good" or "both bad"."""
RATING_STEP = 0.9
"""Utility between two stars; three stars lie around the user's threshold."""


@dataclass(frozen=True, slots=True)
class User:
    """One simulated person. `flip` is the share of judgements that come out the wrong way."""

    name: str
    weights: Weights
    threshold: float
    honest: bool = True
    flip: float = 0.05

    def value(self, question: ShopQuestion, text: str) -> float:
        """Return the utility of this answer to this user."""
        return utility(question, text, self.weights)

    def thumbs_up(self, question: ShopQuestion, text: str, rng: random.Random) -> bool:
        """Draw a thumb: up with the logistic of the distance from the threshold."""
        return self._decides(self.value(question, text) - self.threshold, rng)

    def prefers(
        self, question: ShopQuestion, a: str, b: str, rng: random.Random, *, handicap: float = 0.0
    ) -> bool:
        """Draw whether the user prefers `a` to `b` (Bradley-Terry model).

        `handicap` is added to the utility of `a`.
        """
        advantage = self.value(question, a) - self.value(question, b) + handicap
        return self._decides(advantage, rng)

    def compares(
        self, question: ShopQuestion, a: str, b: str, rng: random.Random
    ) -> Literal["a", "b", "tie", "both_bad"]:
        """Draw what the user says of two answers: one is better, they are equal, or both are bad.

        Answers that are worth nearly the same are mostly called equal, and two that are far below
        the user's threshold mostly both bad.
        """
        worth = [self.value(question, text) for text in (a, b)]
        calls_it = self.honest and rng.random() < CANDOUR
        if calls_it and max(worth) < self.threshold - BOTH_BAD_BELOW:
            return "both_bad"
        if calls_it and abs(worth[0] - worth[1]) < TIE_WITHIN:
            return "tie"
        return "a" if self.prefers(question, a, b, rng) else "b"

    def rating(self, question: ShopQuestion, text: str, rng: random.Random) -> int:
        """Draw a rating of one to five stars."""
        if self._is_random(rng):
            return rng.randint(1, 5)
        felt = self.value(question, text) - self.threshold + rng.gauss(0, 1 / SHARPNESS)
        return min(5, max(1, 3 + round(felt / RATING_STEP)))

    def ranking(
        self, question: ShopQuestion, texts: Sequence[str], rng: random.Random
    ) -> list[int]:
        """Draw the indices of `texts`, best first (Plackett-Luce model; shuffled in an error)."""
        order = list(range(len(texts)))
        if self._is_random(rng):
            rng.shuffle(order)
            return order
        felt = [SHARPNESS * self.value(question, text) + _gumbel(rng) for text in texts]
        return sorted(order, key=lambda index: felt[index], reverse=True)

    def demonstration(self, question: ShopQuestion, rng: random.Random) -> str:
        """Return the answer that an honest user would have written: right, polite and short."""
        return answer(question, "helpful", rng)

    def _decides(self, advantage: float, rng: random.Random) -> bool:
        if not self.honest:
            return rng.random() < 0.5  # noqa: PLR2004 - a coin
        decided = rng.random() < _logistic(SHARPNESS * advantage)
        return decided ^ (rng.random() < self.flip)

    def _is_random(self, rng: random.Random) -> bool:
        return not self.honest or rng.random() < self.flip


def make_users(
    count: int = 60,
    *,
    seed: int = 0,
    random_share: float = 0.1,
    flip: float = 0.05,
    prefix: str = "user",
) -> tuple[User, ...]:
    """Return `count` users named `user-000` and so on; `random_share` of them rate at random."""
    rng = random.Random(f"{prefix}-{seed}")
    liars = set(rng.sample(range(count), round(count * random_share)))
    return tuple(
        User(
            name=f"{prefix}-{index:03d}",
            weights=_personal_weights(rng),
            threshold=rng.gauss(THRESHOLD_MEAN, THRESHOLD_SPREAD),
            honest=index not in liars,
            flip=flip,
        )
        for index in range(count)
    )


def _personal_weights(rng: random.Random) -> Weights:
    return Weights(*(worth * math.exp(rng.gauss(0, WEIGHT_SPREAD)) for worth in astuple(HIDDEN)))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _gumbel(rng: random.Random) -> float:
    """Draw from a standard Gumbel distribution: minus the logarithm of an exponential."""
    return -math.log(max(sys.float_info.min, rng.expovariate(1.0)))
