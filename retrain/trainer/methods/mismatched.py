"""The order of KTO's examples, and the mismatched answers of each batch. Pure.

KTO (arXiv:2402.01306) measures an answer's reward from a point of reference: how far the policy has
moved on answers to *other* prompts of the same batch. TRL 1.16 pairs them by rotating the answers
within consecutive batches, while it prepares text; with token ids it must be done here. Rotation
also pairs a prompt with its own other answer; here it never does.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random

from retrain.trainer.errors import JobError
from retrain.trainer.examples.labels import LabelExample

LEAST = 2
"""Examples that a batch needs: each one's mismatched answer is another's."""


class KtoExample(LabelExample):
    """A judged answer, with the mismatched answer of its batch."""

    KL_completion_ids: list[int]


def with_mismatched(examples: Sequence[LabelExample], batch: int, seed: int) -> list[KtoExample]:
    """Return the examples in training order, each with an answer to another prompt.

    The order mixes good and bad answers evenly. A last batch of one example is filled with a second
    one of weight 0, which only gives its answer as the mismatched one.

    Args:
        examples: Judged answers.
        batch: Examples per forward pass, at least 2. Batches are consecutive.
        seed: Seed of the order.

    Raises:
        JobError: All examples have the same prompt.

    """
    ordered = [examples[index] for index in mixed_order([e["label"] for e in examples], seed)]
    ordered = _filled(ordered, batch)
    prompts = [tuple(example["prompt_ids"]) for example in ordered]
    partners = [
        partner
        for start in range(0, len(ordered), batch)
        for partner in _partners(prompts, start, min(start + batch, len(ordered)))
    ]
    return [
        KtoExample(**example, KL_completion_ids=ordered[partner]["completion_ids"])
        for example, partner in zip(ordered, partners, strict=True)
    ]


def mixed_order(labels: Sequence[bool], seed: int) -> list[int]:
    """Return a random order of the examples in which both kinds are spread evenly."""
    random = Random(seed)
    placed: list[tuple[float, int]] = []
    for kind in (True, False):
        indices = [index for index, label in enumerate(labels) if label == kind]
        random.shuffle(indices)
        share = 1 / max(1, len(indices))
        placed += [((at + random.random()) * share, index) for at, index in enumerate(indices)]
    return [index for _, index in sorted(placed)]


def _filled(ordered: list[LabelExample], batch: int) -> list[LabelExample]:
    if len(ordered) % batch != 1:
        return ordered
    last = ordered[-1]
    other = next((e for e in ordered if e["prompt_ids"] != last["prompt_ids"]), last)
    return [*ordered, LabelExample(**{**other, "weight": 0.0})]


def _partners(prompts: Sequence[tuple[int, ...]], start: int, end: int) -> Iterator[int]:
    """Yield, for each place of a batch, the place whose answer is its mismatched one.

    The places are sorted by prompt, the most frequent prompt first, and rotated by the number of
    that prompt's places. So no place meets its own prompt, unless one prompt has more than half of
    the batch; then an answer from the nearest later batch stands in.
    """
    grouped: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place in range(start, end):
        grouped[prompts[place]].append(place)
    groups = sorted(grouped.values(), key=len, reverse=True)
    rotation = [place for group in groups for place in group]
    shift = len(groups[0])
    partner = {place: rotation[(at + shift) % len(rotation)] for at, place in enumerate(rotation)}
    for place in range(start, end):
        found = partner[place]
        yield found if prompts[found] != prompts[place] else _elsewhere(prompts, place)


def _elsewhere(prompts: Sequence[tuple[int, ...]], place: int) -> int:
    """Return the next place with another prompt. Raises `JobError` if there is none."""
    size = len(prompts)
    for step in range(1, size):
        found = (place + step) % size
        if prompts[found] != prompts[place]:
            return found
    raise JobError(
        "pairs: all labels belong to one prompt, and kto needs answers to at least two; "
        "collect more, or train with another method"
    )
