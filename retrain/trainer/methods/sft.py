"""Supervised fine-tuning on token ids and weighted answers, as a subclass of TRL's `SFTTrainer`.

Written for TRL 1.16 (`trl.trainer.sft_trainer`). Below, B is the number of answers in a batch and T
the length of its longest sequence in tokens.
"""

from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from retrain.trainer.methods.shared import (
    TrainerParts,
    WeightedTrainer,
    weighted,
    weights_of,
    without_weight,
)


@dataclass
class ShownCollator(DataCollatorForLanguageModeling):
    """TRL's collator, which also passes on the weights of the answers.

    Padding-free batches are not used: TRL refuses a collator with them.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch, right-padded.

        Returns:
            `input_ids`, `attention_mask` and `labels` (-100 outside the answer), int64 [B, T]; and
            `weight`, float32 [B].

        """
        batch: dict[str, Any] = super().torch_call(examples)
        batch["weight"] = weights_of(examples)
        return batch


class DemonstrationTrainer(WeightedTrainer, SFTTrainer):
    """SFT on rows of `input_ids`, `completion_mask` (lists of int) and `weight`.

    TRL makes labels of the mask and leaves the ids as they are, since rows with `input_ids` count
    as tokenized.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - TRL's signature
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compute the mean over the answers' tokens, and scale each answer's gradient."""
        return super().compute_loss(
            weighted(model, inputs["weight"]),
            without_weight(inputs),
            return_outputs=return_outputs,
            num_items_in_batch=num_items_in_batch,
        )


def sft_trainer(parts: TrainerParts) -> DemonstrationTrainer:
    """Build the trainer for examples of answers to imitate."""
    config = SFTConfig(
        **parts.arguments(), packing=False, padding_free=False, completion_only_loss=True
    )
    return DemonstrationTrainer(
        args=config,
        data_collator=ShownCollator(pad_token_id=parts.tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(parts.examples),
        **parts.models(),
    )
