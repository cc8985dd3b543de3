"""`[retrain.sft]`: hyper-parameters of supervised fine-tuning on demonstrations."""

from pydantic import ConfigDict, Field

from common.settings import Section


class SftConfig(Section):
    """Hyper-parameters of supervised fine-tuning: the likelihood of better answers by people.

    The adapter, the optimizer and the batch are those of `[retrain.hyper]`. The defaults suit a
    7-8B model.
    """

    model_config = ConfigDict(frozen=True)

    learning_rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate. Fine-tuning with LoRA bears 1e-4; less, since the text of a few people
    should correct the model and not replace its manner."""
    learning_rate_first: float | None = Field(default=None, gt=0)
    """Learning rate for a new adapter (no warm start). None: `learning_rate`."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the demonstrations."""
