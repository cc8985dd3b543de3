"""`[retrain.orpo]`: hyper-parameters of ORPO, training on pairs without a reference model."""

from pydantic import ConfigDict, Field

from common.settings import Section


class OrpoConfig(Section):
    """Hyper-parameters of ORPO (arXiv:2403.07691): likelihood of the chosen answer and odds ratio.

    It needs no reference model, so nothing but the small learning rate keeps the model near to
    what it was. The adapter, the optimizer and the batch are those of `[retrain.hyper]`. The
    defaults suit a 7-8B model.
    """

    model_config = ConfigDict(frozen=True)

    beta: float = Field(default=0.1, gt=0)
    """Weight of the odds-ratio loss beside the likelihood: the paper's lambda."""
    learning_rate: float = Field(default=8e-6, gt=0)
    """Peak learning rate: the highest of the paper's, which trains all weights of 7B models."""
    learning_rate_first: float | None = Field(default=None, gt=0)
    """Learning rate for a new adapter (no warm start). None: `learning_rate`."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the pairs."""
