"""Decide which pairs can be trained on. The dry run, the snapshot and the trainer use it. Pure.

The snapshot applies the rule to sampled token ids. A demonstration has no ids until the trainer
renders it, so its length counts as one token. The trainer applies the rule again to all pairs once
they are rendered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retrain.trainer.examples.rows import CompletionRow, LabelRow, PairRow

Misfit = Literal["empty", "identical", "weightless", "too_long"]
"""Why a pair or a label cannot be trained on. `empty`: an answer has no tokens. `identical`: both
answers have the same tokens. `weightless`: the weight is 0. `too_long`: the prompt and the longer
answer have more than `max_length` tokens."""

Ids = Sequence[int] | None
"""Token ids; None if the answer is not rendered yet."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Why a pair cannot be trained on (None if it can), and its length in tokens."""

    misfit: Misfit | None
    length: int


def fit(prompt: Sequence[int], chosen: Ids, rejected: Ids, weight: float, max_length: int) -> Fit:
    """Check one pair, given as token ids."""
    length = len(prompt) + max(_tokens(chosen), _tokens(rejected))
    return Fit(_misfit(chosen, rejected, weight, too_long=length > max_length), length)


def fit_of_row(row: PairRow, max_length: int) -> Fit:
    """Check one row of the pairs file, before demonstrations are rendered."""
    chosen, rejected = _ids(row.chosen), _ids(row.rejected)
    return fit(row.prompt_token_ids, chosen, rejected, row.weight, max_length)


def fit_of_label(row: LabelRow, max_length: int) -> Fit:
    """Check one row of the labels file."""
    completion = row.completion.token_ids or []
    length = len(row.prompt_token_ids) + len(completion)
    if not completion:
        return Fit("empty", length)
    if not row.weight:
        return Fit("weightless", length)
    return Fit("too_long" if length > max_length else None, length)


def too_few(
    kept: int,
    minimum: int,
    left_out: Mapping[str, int],
    max_length: int,
    longest: int,
    *,
    what: str = "pairs",
) -> str:
    """Return the message for a run with too little to train on.

    Args:
        kept: Number of rows that can be trained on.
        minimum: Least number required.
        left_out: Number of rows that cannot be trained on, by reason.
        max_length: The limit on a row's tokens.
        longest: Tokens of the longest row that was left out as too long.
        what: What the rows are.

    """
    reasons = [f"{kept} {what}, fewer than the minimum of {minimum}"]
    if too_long := left_out.get("too_long", 0):
        reasons.append(
            f"{too_long} more are longer than retrain.hyper.max_length = {max_length} tokens, the "
            f"longest has {longest}: raise it to train on them"
        )
    others = {name: count for name, count in sorted(left_out.items()) if name != "too_long"}
    if others:
        counts = ", ".join(f"{name} {count}" for name, count in others.items())
        reasons.append(f"left out for other reasons: {counts}")
    return "; ".join(reasons)


def _misfit(chosen: Ids, rejected: Ids, weight: float, *, too_long: bool) -> Misfit | None:
    if not _tokens(chosen) or not _tokens(rejected):
        return "empty"
    if chosen is not None and rejected is not None and list(chosen) == list(rejected):
        return "identical"
    if not weight:
        return "weightless"
    return "too_long" if too_long else None


def _tokens(ids: Ids) -> int:
    """Return the number of tokens; 1 if unknown, for the token that ends the turn."""
    return 1 if ids is None else len(ids)


def _ids(completion: CompletionRow) -> Ids:
    """Return the sampled ids, an empty list for an empty text, or None before rendering."""
    return [] if completion.text == "" else completion.token_ids
