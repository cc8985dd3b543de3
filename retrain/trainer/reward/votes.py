"""Read comparisons and rated answers as token ids, for a reward model.

Both kinds are votes: a comparison has a better and a worse answer to one prompt, a label says that
one answer is good or bad.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.examples.data import Example, Render, prepare
from retrain.trainer.examples.fit import too_few
from retrain.trainer.examples.prepared import Bounds, check_vocabulary, read_rows
from retrain.trainer.examples.rows import LabelRow


@dataclass(frozen=True, slots=True)
class AnswerIds:
    """One prompt with one answer, as token ids; the answer begins at `start`.

    `figures` tell how likely the base model finds it (`likelihood`); empty until they are computed.
    """

    ids: list[int]
    start: int
    figures: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PeopleVote:
    """One vote. A comparison has two answers, the better one first, and no `good`.

    `weight` is the factor of its gradient.
    """

    answers: tuple[AnswerIds, ...]
    weight: float
    good: bool | None = None


@dataclass(slots=True)
class Votes:
    """The votes to train on; how many of each signal, and how many were left out, by reason."""

    comparisons: list[PeopleVote] = field(default_factory=list)
    labels: list[PeopleVote] = field(default_factory=list)
    signals: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    longest: int = 0

    @property
    def all(self) -> list[PeopleVote]:
        """Comparisons, then labels."""
        return [*self.comparisons, *self.labels]


def read_votes(
    pairs: Path, labels: Path, render: Render, bounds: Bounds, *, label_weight: float
) -> Votes:
    """Read both files. Votes that do not fit are dropped and counted, never cut.

    Args:
        pairs: JSON lines of `PairRow`.
        labels: JSON lines of `LabelRow`.
        render: Tokenizes demonstrations.
        bounds: What votes must satisfy; the minimum is that of both kinds together.
        label_weight: Factor of the labels' weights.

    Raises:
        JobError: A file is malformed, or has token ids outside the vocabulary.
        TooFewPairsError: Fewer than the minimum are left.

    """
    prepared = prepare(pairs, render, replace(bounds, minimum=0))
    votes = Votes(
        [_comparison(example) for example in prepared.examples],
        signals=prepared.signals,
        dropped=prepared.dropped,
        longest=prepared.longest,
    )
    for row in read_rows(labels, LabelRow, "a label"):
        ids = [*row.prompt_token_ids, *(row.completion.token_ids or [])]
        check_vocabulary(row.id, ids, bounds.vocabulary)
        _take(votes, row, label_weight, bounds.max_length)
    found = len(votes.all)
    if found < bounds.minimum:
        limits = bounds.minimum, votes.dropped, bounds.max_length, votes.longest
        raise TooFewPairsError(too_few(found, *limits, what="votes"))
    return votes


def _comparison(example: Example) -> PeopleVote:
    prompt = example["prompt_ids"]
    answers = (example["chosen_ids"], example["rejected_ids"])
    return PeopleVote(
        tuple(AnswerIds(prompt + ids, len(prompt)) for ids in answers), example["weight"]
    )


def _take(votes: Votes, row: LabelRow, label_weight: float, max_length: int) -> None:
    ids, weight = row.completion.token_ids or [], row.weight * label_weight
    length = len(row.prompt_token_ids) + len(ids)
    if not ids or not weight:
        votes.dropped["weightless" if ids else "empty"] += 1
    elif length > max_length:
        votes.dropped["too_long"] += 1
        votes.longest = max(votes.longest, length)
    else:
        answer = AnswerIds(row.prompt_token_ids + ids, len(row.prompt_token_ids))
        votes.labels.append(PeopleVote((answer,), weight, row.label))
        votes.signals[row.signal] += 1
