"""How likely the base model itself finds an answer, in a few figures.

A model that makes something up samples tokens that it finds unlikely (as in SelfCheckGPT,
arXiv:2303.08896). The figures are those of the base model without LoRA, so that they are the same
before, during and after the training.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

LOWEST = 3
"""Number of the least likely tokens whose mean is a figure."""
FIGURES = 6


def figures_of(backbone: Any, rows: Sequence[Any], batch: int) -> list[tuple[float, ...]]:
    """Return the figures of each answer, in order.

    They are of the answer's tokens: the mean log-probability, the lowest, the mean of the three
    lowest, the mean entropy, the largest distance from the most likely token's log-probability,
    and the logarithm of their number.

    Args:
        backbone: The base model with LoRA, which is switched off meanwhile.
        rows: `retrain.trainer.reward.votes.AnswerIds`s.
        batch: Answers per forward pass.

    """
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    found: dict[int, tuple[float, ...]] = {}
    with torch.no_grad(), backbone.disable_adapter():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            figures = _batch(backbone, [rows[index] for index in chosen])
            found |= dict(zip(chosen, figures, strict=True))
    return [found[index] for index in range(len(rows))]


def _batch(backbone: Any, rows: Sequence[Any]) -> Iterator[tuple[float, ...]]:
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in rows])
    lengths = torch.tensor([len(row.ids) for row in rows])
    mask = (torch.arange(longest)[None] < lengths[:, None]).long()
    device = backbone.device
    logits = backbone(
        input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
    ).logits
    for row, own in zip(rows, logits, strict=True):
        yield _figures(own[row.start - 1 : len(row.ids) - 1], row.ids[row.start :])


def _figures(logits: Any, answer: Sequence[int]) -> tuple[float, ...]:
    """Return the figures of one answer of A tokens, predicted by `logits` [A, vocabulary]."""
    if not answer:
        return (0.0,) * FIGURES
    every = logits.float().log_softmax(-1)
    sampled = every[torch.arange(len(answer)), torch.tensor(answer)]
    entropy = -(every.exp() * every.clamp(min=-1e4)).sum(-1)
    distance = every.max(-1).values - sampled
    values = (
        sampled.mean(),
        sampled.min(),
        sampled.sort().values[:LOWEST].mean(),
        entropy.mean(),
        distance.max(),
        torch.tensor(float(len(answer))).log(),
    )
    return tuple(float(value) for value in values)
