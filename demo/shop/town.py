"""Bramblewick's visitors: who asks what. No question is asked twice."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from demo.shop.asking import ask
from demo.shop.users import User
from demo.shop.world import ShopQuestion, split
from retrain.dataset.questions import normalise


@dataclass(frozen=True, slots=True)
class Visit:
    """A user with a question."""

    user: User
    question: ShopQuestion
    text: str


class Town:
    """The users of Bramblewick and their questions.

    Users for whom `is_held_out` is true ask the held-out wordings, all others ask the rest. `asked`
    holds everything that was asked (normalised as the server does it), and nothing is asked again.
    """

    def __init__(
        self,
        users: Sequence[User],
        is_held_out: Callable[[str], bool],
        asked: set[str] | None = None,
    ) -> None:
        self.held_out_users = tuple(user for user in users if is_held_out(user.name))
        self.training_users = tuple(user for user in users if not is_held_out(user.name))
        self._train_questions, self._held_out_questions = split()
        self._asked = set[str]() if asked is None else asked

    def training_visit(self, rng: random.Random) -> Visit:
        """Draw a visit for training. Raises IndexError if all users are held out."""
        return self._visit(self.training_users, self._train_questions, rng)

    def visit_of(self, user: User, rng: random.Random) -> Visit:
        """Draw a visit of `user`, with a question that this user may ask."""
        held = user in self.held_out_users
        return self._visit([user], self._held_out_questions if held else self._train_questions, rng)

    def held_out_visits(self, rng: random.Random) -> Iterator[Visit]:
        """Yield visits of held-out users forever, with every held-out fact equally often.

        Otherwise one week's questions might be harder than another's, and weeks could not be
        compared. Raises IndexError if no user is held out.
        """
        questions = list(self._held_out_questions)
        while True:
            rng.shuffle(questions)
            for question in questions:
                yield self._visit(self.held_out_users, [question], rng)

    def _visit(
        self, users: Sequence[User], questions: Sequence[ShopQuestion], rng: random.Random
    ) -> Visit:
        while True:
            user, question = rng.choice(users), rng.choice(questions)
            text = ask(question, rng)
            if (known := normalise(text)) not in self._asked:
                self._asked.add(known)
                return Visit(user, question, text)
