"""`[retrain.kto]`: hyper-parameters of KTO, training on answers that were judged by themselves."""

from pydantic import ConfigDict, Field

from common.settings import Section


class KtoConfig(Section):
    """Hyper-parameters of KTO (arXiv:2402.01306), which learns from single good and bad answers.

    The adapter, the optimizer and the batch are those of `[retrain.hyper]`; a batch of one cannot
    be used. The defaults suit a 7-8B model.
    """

    model_config = ConfigDict(frozen=True)

    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference: a larger value keeps the model closer to it. 0.1
    is the paper's; a model that drifts within a week wants more."""
    learning_rate: float = Field(default=5e-6, gt=0)
    """Peak learning rate. Between 5e-7 and 5e-6 is usual where all weights are trained; an adapter
    bears the upper end and more. Each `beta` has a highest rate above which the model collapses,
    and only the comparison of answers shows it: change both with care."""
    learning_rate_first: float | None = Field(default=None, gt=0)
    """Learning rate for a new adapter (no warm start). None: `learning_rate`."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the labels."""
    desirable_weight: float | None = Field(default=None, gt=0)
    """Factor of the loss of good answers. If neither this nor `undesirable_weight` is set, both
    come from the counts, so that good and bad answers weigh the same in total: the rarer kind gets
    the ratio of the two, the other 1. If only one is set, the other is 1."""
    undesirable_weight: float | None = Field(default=None, gt=0)
    """Factor of the loss of bad answers."""
