"""Which pairs can be trained on: one rule for the dry run, the snapshot and the trainer. Pure.

The snapshot applies it to the token ids that were served; a demonstration has none until the
trainer renders it, and is taken to need one token. The trainer applies it again to every pair once
all are rendered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retrain.trainer.examples.rows import CompletionRow, PairRow

Misfit = Literal["empty", "identical", "weightless", "too_long"]
"""`empty`: an answer without tokens. `identical`: both answers are the same tokens. `weightless`:
its weight is 0. `too_long`: prompt and longer answer have more than `max_length` tokens."""

Ids = Sequence[int] | None
"""Token ids; None where they are not known yet."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Why a pair cannot be trained on (None where it can), and the tokens of its longer half."""

    misfit: Misfit | None
    length: int


def fit(prompt: Sequence[int], chosen: Ids, rejected: Ids, weight: float, max_length: int) -> Fit:
    """Look at one pair, as token ids."""
    length = len(prompt) + max(_tokens(chosen), _tokens(rejected))
    return Fit(_misfit(chosen, rejected, weight, too_long=length > max_length), length)


def fit_of_row(row: PairRow, max_length: int) -> Fit:
    """Look at one line of the pairs file, before its texts are rendered."""
    chosen, rejected = _ids(row.chosen), _ids(row.rejected)
    return fit(row.prompt_token_ids, chosen, rejected, row.weight, max_length)


def too_few(
    pairs: int, minimum: int, left_out: Mapping[str, int], max_length: int, longest: int
) -> str:
    """Say why a run does not train: `pairs` can be trained on, fewer than `minimum`.

    Args:
        pairs: Pairs that can be trained on.
        minimum: The fewest that a run trains on.
        left_out: Pairs that cannot be trained on, by reason.
        max_length: The most tokens that a pair may have.
        longest: Tokens of the longest pair that was left out as too long.

    """
    said = [f"{pairs} pairs, fewer than the minimum of {minimum}"]
    if too_long := left_out.get("too_long", 0):
        said.append(
            f"{too_long} more are longer than retrain.hyper.max_length = {max_length} tokens, the "
            f"longest has {longest}: raise it to train on them"
        )
    others = {name: count for name, count in sorted(left_out.items()) if name != "too_long"}
    if others:
        counts = ", ".join(f"{name} {count}" for name, count in others.items())
        said.append(f"left out for other reasons: {counts}")
    return "; ".join(said)


def _misfit(chosen: Ids, rejected: Ids, weight: float, *, too_long: bool) -> Misfit | None:
    if not _tokens(chosen) or not _tokens(rejected):
        return "empty"
    if chosen is not None and rejected is not None and list(chosen) == list(rejected):
        return "identical"
    if not weight:
        return "weightless"
    return "too_long" if too_long else None


def _tokens(ids: Ids) -> int:
    """How many tokens there are: at least the one that ends the turn."""
    return 1 if ids is None else len(ids)


def _ids(completion: CompletionRow) -> Ids:
    """The ids that were sampled; an empty text has none, whoever renders it."""
    return [] if completion.text == "" else completion.token_ids
