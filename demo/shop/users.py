"""Bramblewick's simulated users: what they ask and how they judge answers.

An honest user has weights and a threshold of their own, drawn around the hidden utility, and
sometimes errs; a few users rate at random. All noise comes from the given random generator.
"""

import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations
from typing import Literal

from demo.shop.taste import HIDDEN, Weights, utility
from demo.shop.world import ShopQuestion, answer, ask, split

Metric = Literal["thumbs", "rating", "demonstration", "preference", "ranking"]

SHARPNESS = 1.8
"""Logits per unit of utility: how strongly a difference in utility decides a judgement."""
WEIGHT_SPREAD = 0.3
THRESHOLD_MEAN, THRESHOLD_SPREAD = 1.6, 0.4
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


@dataclass(frozen=True, slots=True)
class Habits:
    """How often a user gives feedback: probabilities per visit or per answer.

    With four answers the defaults give about 2.4 thumbs and 1.5 preferences a visit.
    """

    thumb: float = 0.6
    preferences: int = 2
    preference: float = 0.75
    ranking: float = 0.08
    rating: float = 0.08
    demonstration: float = 0.1


@dataclass(frozen=True, slots=True)
class UserFeedback:
    """One piece of feedback on a visit's answers, by their indices.

    `value` is a bool (thumbs), an int (rating), a text (demonstration), the index of the answer
    that `choice` is preferred over (preference), or indices best first (ranking, where `choice`
    is the best one).
    """

    metric: Metric
    choice: int
    value: bool | int | str | list[int]


@dataclass(frozen=True, slots=True)
class Visit:
    """A user with a question."""

    user: User
    question: ShopQuestion
    text: str


class Town:
    """The users of Bramblewick and their questions.

    Users for whom `is_held_out` is true ask the held-out wordings, all others ask the rest.
    """

    def __init__(self, users: Sequence[User], is_held_out: Callable[[str], bool]) -> None:
        self.held_out_users = tuple(user for user in users if is_held_out(user.name))
        self.training_users = tuple(user for user in users if not is_held_out(user.name))
        self._train_questions, self._held_out_questions = split()

    def training_visit(self, rng: random.Random) -> Visit:
        """Draw a visit for training. Raises IndexError if all users are held out."""
        return _visit(self.training_users, self._train_questions, rng)

    def visit_of(self, user: User, rng: random.Random) -> Visit:
        """Draw a visit of `user`, with a question that this user may ask."""
        held = user in self.held_out_users
        return _visit([user], self._held_out_questions if held else self._train_questions, rng)

    def held_out_visits(self, rng: random.Random) -> Iterator[Visit]:
        """Yield visits of held-out users forever, with every held-out question equally often.

        Otherwise one week's questions might be harder than another's, and weeks could not be
        compared. Raises IndexError if no user is held out.
        """
        questions = list(self._held_out_questions)
        while True:
            rng.shuffle(questions)
            for question in questions:
                yield _visit(self.held_out_users, [question], rng)


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


def judge_visit(
    visit: Visit, answers: Sequence[str], rng: random.Random, habits: Habits | None = None
) -> list[UserFeedback]:
    """Draw all feedback of the visit's user on `answers`."""
    habits = habits or Habits()
    judgements = list(_thumbs(visit, answers, rng, habits))
    if rng.random() < habits.ranking and len(answers) > 1:
        order = visit.user.ranking(visit.question, answers, rng)
        judgements.append(UserFeedback("ranking", order[0], order))
    else:
        judgements.extend(_preferences(visit, answers, rng, habits))
    if rng.random() < habits.rating:
        choice = rng.randrange(len(answers))
        stars = visit.user.rating(visit.question, answers[choice], rng)
        judgements.append(UserFeedback("rating", choice, stars))
    return judgements


def _thumbs(
    visit: Visit, answers: Sequence[str], rng: random.Random, habits: Habits
) -> list[UserFeedback]:
    """Draw thumbs, and the answers that honest users write instead of some they voted down."""
    judgements = []
    for index, text in enumerate(answers):
        if rng.random() >= habits.thumb:
            continue
        up = visit.user.thumbs_up(visit.question, text, rng)
        judgements.append(UserFeedback("thumbs", index, up))
        if not up and visit.user.honest and rng.random() < habits.demonstration:
            better = visit.user.demonstration(visit.question, rng)
            judgements.append(UserFeedback("demonstration", index, better))
    return judgements


def _preferences(
    visit: Visit, answers: Sequence[str], rng: random.Random, habits: Habits
) -> list[UserFeedback]:
    """Draw preferences between differing answers, each pair at most once."""
    pairs = [pair for pair in combinations(range(len(answers)), 2) if _differ(answers, pair)]
    judgements = []
    for first, second in rng.sample(pairs, min(habits.preferences, len(pairs))):
        if rng.random() < habits.preference:
            wins = visit.user.prefers(visit.question, answers[first], answers[second], rng)
            best, other = (first, second) if wins else (second, first)
            judgements.append(UserFeedback("preference", best, other))
    return judgements


def _differ(answers: Sequence[str], pair: tuple[int, int]) -> bool:
    return answers[pair[0]] != answers[pair[1]]


def _visit(users: Sequence[User], questions: Sequence[ShopQuestion], rng: random.Random) -> Visit:
    user, question = rng.choice(users), rng.choice(questions)
    return Visit(user, question, ask(question, rng))


def _personal_weights(rng: random.Random) -> Weights:
    return Weights(*(worth * math.exp(rng.gauss(0, WEIGHT_SPREAD)) for worth in astuple(HIDDEN)))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _gumbel(rng: random.Random) -> float:
    """Draw from a standard Gumbel distribution: minus the logarithm of an exponential."""
    return -math.log(max(sys.float_info.min, rng.expovariate(1.0)))
