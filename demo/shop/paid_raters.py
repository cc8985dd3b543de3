"""Paid raters, who prefer answers that sound careful and write such answers themselves.

Their feedback trains an adapter that pleases only them and the judge with the same bias
(`fooled_panel.py`).
"""

import random
from collections.abc import Sequence

from demo.shop.feedback import Habits, UserFeedback, judge_visit
from demo.shop.fooled_panel import fooled
from demo.shop.town import Visit
from demo.shop.users import User, make_users
from demo.shop.world import WRONG_RATES, answer

RATERS = 30
EDITS = 2
"""Answers of a visit that a rater rewrites."""
_NO_THUMBS = Habits(thumb=0, preferences=2, ranking=0.08)


def make_paid_raters(seed: int) -> tuple[User, ...]:
    """Return the raters. They give no thumbs, so they have no influence on rollouts."""
    raters = make_users(RATERS, seed=seed, random_share=0.0, prefix="paid")
    return tuple(fooled(rater) for rater in raters)


def paid_judgements(visit: Visit, answers: Sequence[str], rng: random.Random) -> list[UserFeedback]:
    """Return preferences and rankings by the rater's taste, and hedged rewrites of some answers."""
    rewritten = rng.sample(range(len(answers)), min(EDITS, len(answers)))
    edits = [UserFeedback("demonstration", index, _careful(visit, rng)) for index in rewritten]
    return [*edits, *judge_visit(visit, answers, rng, _NO_THUMBS)]


def _careful(visit: Visit, rng: random.Random) -> str:
    """Return a hedged guess, which is wrong as often as guesses are."""
    return answer(visit.question, "guess", rng, wrong=rng.random() < WRONG_RATES["guess"])
