"""Which new answer becomes the other side of a rated one. Pure.

A person vouches for one side, the rated answer; a judge compared each new answer with it. Below an
answer that a person disliked stands the best new answer that beats it; above one that a person
liked, nothing: the worst new answer that loses to it becomes the rejected side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Reason = Literal[
    "no_winner",
    "identical",
    "truncated",
    "different_prompt",
    "failed",
    "unjudged",
    "too_long",
    "unusable",
    "no_request",
    "over_budget",
]
"""Why a question gave no pair.

- `no_winner`: the judge saw no clear difference in the wanted direction.
- `identical`: the new answers were the rated one again.
- `truncated`: the answer that would be the chosen one was cut off at its length limit.
- `different_prompt`: the model was given other token ids than for the rated answer.
- `failed`: no new answer came, or none was logged.
- `unjudged`: the judge gave no verdict.
- `too_long`: the pair does not fit `retrain.hyper.max_length`.
- `unusable`: an answer is empty, or the weight is 0.
- `no_request`: the recorded request is gone, or not that of a chat.
- `over_budget`: the question was not asked, for the limits on questions or seconds.
"""
REASONS: tuple[Reason, ...] = get_args(Reason)

TIE = 0.5


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    """A new answer that differs from the rated one.

    `preference` is the judge's for the new answer, from 0 to 1; None without a verdict.
    """

    preference: float | None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """The new answer at `index` makes a pair. The judge tells its sides apart by `margin`.

    A margin of 0 would be a tie, 1 is certainty.
    """

    index: int
    margin: float


def choose(answers: Sequence[ComparedAnswer], *, liked: bool, margin: float) -> Chosen | Reason:
    """Choose the new answer that makes a pair with a rated one.

    Args:
        answers: The new answers that differ from the rated one.
        liked: Whether a person liked the rated answer. If so, the worst answer that loses to it
            becomes the rejected side; if not, the best answer that beats it the chosen side.
        margin: The least margin of a pair; see `Chosen`. A tie never makes a pair.

    Returns:
        The choice, the first of equals; or why there is none.

    """
    margins = _margins(answers, liked=liked)
    clear = {index: found for index, found in margins.items() if found > 0 and found >= margin}
    usable = {index: clear[index] for index in clear if liked or not answers[index].truncated}
    if usable:
        best = max(usable, key=usable.__getitem__)
        return Chosen(best, usable[best])
    if clear:
        return "truncated"
    return "no_winner" if margins else "unjudged"


def _margins(answers: Sequence[ComparedAnswer], *, liked: bool) -> dict[int, float]:
    """Return the margin of each judged answer, negative if it differs in the other direction."""
    sign = -1 if liked else 1
    return {
        index: sign * 2 * (answer.preference - TIE)
        for index, answer in enumerate(answers)
        if answer.preference is not None
    }
