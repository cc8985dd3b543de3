"""Simulate the feedback of visitors: how often they give it, and of which kind."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from demo.shop.taste import features
from demo.shop.town import Visit

Metric = Literal[
    "thumbs", "rating", "demonstration", "preference", "tie", "both_bad", "ranking", "solved"
]
"""A built-in metric, one of the three things that a preference can say, or `solved`, a metric of
the shop's own (`[feedback.metrics.solved]`)."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How often a user gives feedback: probabilities per visit or per answer.

    By default a fifth of the answers get a thumb, and users rewrite a tenth of what they vote down.
    """

    thumb: float = 0.2
    preferences: int = 1
    preference: float = 0.75
    ranking: float = 0.0
    rating: float = 0.0
    demonstration: float = 0.1
    solved: float = 0.0


@dataclass(frozen=True, slots=True)
class UserFeedback:
    """One piece of feedback on a visit's answers, by their indices.

    `value` is a bool (thumbs, solved), an int (rating), a text (demonstration), the index of the
    answer that `choice` is compared with (preferred in a preference), or indices best first
    (ranking, where `choice` is the best one).
    """

    metric: Metric
    choice: int
    value: bool | int | str | list[int]


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
    judgements.extend(_solved(visit, answers, rng, habits))
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
) -> Iterator[UserFeedback]:
    """Draw comparisons of differing answers, each pair at most once."""
    pairs = [pair for pair in combinations(range(len(answers)), 2) if _differ(answers, pair)]
    for first, second in rng.sample(pairs, min(habits.preferences, len(pairs))):
        if rng.random() >= habits.preference:
            continue
        said = visit.user.compares(visit.question, answers[first], answers[second], rng)
        if said == "tie" or said == "both_bad":  # noqa: PLR1714  (mypy narrows this)
            yield UserFeedback(said, first, second)
        else:
            best, other = (first, second) if said == "a" else (second, first)
            yield UserFeedback("preference", best, other)


def _solved(
    visit: Visit, answers: Sequence[str], rng: random.Random, habits: Habits
) -> Iterator[UserFeedback]:
    """Draw whether the user's problem was solved, which the shop notices without asking."""
    for index, text in enumerate(answers):
        if rng.random() < habits.solved:
            right = features(visit.question, text).correct
            yield UserFeedback("solved", index, right ^ (rng.random() < visit.user.flip))


def _differ(answers: Sequence[str], pair: tuple[int, int]) -> bool:
    return answers[pair[0]] != answers[pair[1]]
