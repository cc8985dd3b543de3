"""The judge of the demo's gate: a panel of five noisy people who are not among the users.

Set it with `judge = "demo.shop.panel:panel"`. It sees only texts, never the hidden utility.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from demo.shop.asking import question_of
from demo.shop.users import User, make_users
from demo.shop.world import ShopQuestion

PANEL_SEED = 9001
PANEL_SIZE = 5
A_WINS, B_WINS, TIE = 1.0, 0.0, 0.5


class Panel:
    """A judge that decides by majority vote of a few people.

    The noise is drawn from a hash of the seed, the conversation and the answers in their order: the
    same question gets the same verdict, and with swapped positions the noise is independent.
    `position_bias` is added to the utility of the first answer.
    """

    def __init__(
        self, people: Sequence[User], *, seed: int = PANEL_SEED, position_bias: float = 0.0
    ) -> None:
        self._people = tuple(people)
        self._seed = seed
        self._bias = position_bias

    async def compare(self, conversation: Sequence[Mapping[str, Any]], a: str, b: str) -> float:
        """Compare `a`, shown first, with `b`: 1.0 if `a` is better, 0.0 if `b` is, 0.5 for a tie.

        The caller swaps the positions and takes the mean. Equal answers are a tie, and so is
        everything in a conversation whose last user turn is no question of Bramblewick.
        """
        question = question_of(_last_user_text(conversation))
        if question is None or a == b:
            return TIE
        votes = self._votes(question, a, b, self._noise(conversation, a, b))
        against = len(self._people) - votes
        if votes == against:
            return TIE
        return A_WINS if votes > against else B_WINS

    def _votes(self, question: ShopQuestion, a: str, b: str, rng: random.Random) -> int:
        return sum(
            person.prefers(question, a, b, rng, handicap=self._bias) for person in self._people
        )

    def _noise(self, conversation: Sequence[Mapping[str, Any]], a: str, b: str) -> random.Random:
        judged = json.dumps([self._seed, [dict(turn) for turn in conversation], a, b])
        return random.Random(hashlib.blake2b(judged.encode(), digest_size=16).digest())


def panel() -> Panel:
    """Return the demo's panel: five people with another seed and other names than the users."""
    people = make_users(PANEL_SIZE, seed=PANEL_SEED, random_share=0.0, prefix="panel")
    return Panel(people)


def _last_user_text(conversation: Sequence[Mapping[str, Any]]) -> str:
    for turn in reversed(conversation):
        if turn.get("role") == "user":
            return _text(turn.get("content"))
    return ""


def _text(content: object) -> str:
    """Return the text of a message, also if it is OpenAI's list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
