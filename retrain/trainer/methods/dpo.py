"""DPO (arXiv:2305.18290) on token ids and weighted pairs, as a subclass of TRL's `DPOTrainer`.

Written for TRL 1.16 (`trl.trainer.dpo_trainer`). Below, B is the number of pairs in a batch and T
the length of its longest sequence in tokens.
"""

from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from retrain.trainer.methods.shared import (
    ReferencedTrainer,
    TrainerParts,
    policy_log_probs,
    weighted,
    weights_of,
    without_weight,
)


@dataclass
class PairCollator(DataCollatorForPreference):
    """TRL's collator, which also passes on the weights of the pairs."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch, right-padded, with the chosen answers in front of the rejected ones.

        Returns:
            `input_ids`, `attention_mask` and `completion_mask`, int64 [2B, T]; precomputed
            `ref_chosen_logps` and `ref_rejected_logps`, float32 [B]; and `weight`, float32 [B].

        """
        batch: dict[str, Any] = super().torch_call(examples)
        batch["weight"] = weights_of(examples)
        return batch


class PairTrainer(ReferencedTrainer, DPOTrainer):
    """DPO on rows of `prompt_ids`, `chosen_ids`, `rejected_ids` (lists of int) and `weight`."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: FBT001
        """Compute the loss, and scale each pair's gradient by its weight.

        TRL calls `model` once, for the policy, and `self.model` for the reference.
        """
        weights = torch.cat([inputs["weight"], inputs["weight"]])
        batch = without_weight(inputs)
        return super()._compute_loss(weighted(model, weights), batch, return_outputs)

    def reference_gap(self, batch: dict[str, Any]) -> Any:
        """Return log-probabilities of the policy minus those of the reference, float32 [2B]."""
        if self.precompute_ref_logps:
            reference = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
        else:
            reference = torch.cat(self.compute_ref_log_probs(self.model, batch))
        masks = (batch["attention_mask"], batch["completion_mask"])
        return policy_log_probs(self, batch["input_ids"], *masks) - reference


def dpo_trainer(parts: TrainerParts) -> PairTrainer:
    """Build the trainer for examples of pairs."""
    hyper = parts.hyper
    config = DPOConfig(
        **parts.arguments(),
        loss_type=list(hyper.loss_type),
        loss_weights=list(hyper.loss_weights),
        beta=hyper.beta,
        label_smoothing=hyper.label_smoothing,
        precompute_ref_log_probs=hyper.precompute_ref_log_probs,
        disable_dropout=not hyper.lora_dropout,
    )
    return PairTrainer(
        args=config,
        data_collator=PairCollator(pad_token_id=parts.tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(parts.examples),
        **parts.models(),
    )
