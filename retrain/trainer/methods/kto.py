"""KTO (arXiv:2402.01306) on token ids and weighted answers, as a subclass of TRL's `KTOTrainer`.

Written for TRL 1.16 (`trl.trainer.kto_trainer`). Below, B is the number of judged answers in a
batch and T the length of its longest sequence in tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from retrain.trainer.examples.labels import LabelExample
from retrain.trainer.job import TrainingStage
from retrain.trainer.methods.mismatched import with_mismatched
from retrain.trainer.methods.shared import (
    ReferencedTrainer,
    TrainerParts,
    policy_log_probs,
    weighted,
    weights_of,
    without_weight,
)


@dataclass
class LabelCollator(DataCollatorForUnpairedPreference):
    """TRL's collator, which also passes on the weights of the answers.

    Its `max_length` cuts mismatched answers only, whose prompt may be longer than their own was:
    answers that are too long themselves have been dropped.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a batch, right-padded, in the order of the examples.

        Returns:
            `input_ids`, `attention_mask`, `completion_mask` and the same three with the prefix
            `KL_` for the mismatched answers, int64 [B, T]; `label`, bool [B]; precomputed
            `ref_logps` and `ref_KL_logps`, float32 [B]; and `weight`, float32 [B].

        """
        batch: dict[str, Any] = super().torch_call(examples)
        batch["weight"] = weights_of(examples)
        return batch


class LabelTrainer(ReferencedTrainer, KTOTrainer):
    """KTO on rows of `prompt_ids`, `completion_ids`, `KL_completion_ids`, `label` and `weight`."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: FBT001
        """Compute the loss, and scale each answer's gradient by its weight.

        TRL computes the losses of all good answers, then of all bad ones. The hook is on what the
        model returns, where the answers are still in the batch's order, as the weights are. TRL
        calls `model` for the mismatched answers first, without a gradient, and `self.model` for the
        reference.
        """
        batch = without_weight(inputs)
        return super()._compute_loss(weighted(model, inputs["weight"]), batch, return_outputs)

    def reference_gap(self, batch: dict[str, Any]) -> Any:
        """Return log-probabilities of the policy minus those of the reference, float32 [2B].

        The judged answers come first, then the mismatched ones.
        """
        if self.precompute_ref_logps:
            reference = torch.cat([batch["ref_logps"], batch["ref_KL_logps"]])
        else:
            reference = torch.cat(self.compute_ref_log_probs(self.model, batch))
        names = ("input_ids", "attention_mask", "completion_mask")
        policy = [
            policy_log_probs(self, *(batch[prefix + name] for name in names))
            for prefix in ("", "KL_")
        ]
        return torch.cat(policy) - reference


def class_weights(examples: Sequence[LabelExample], stage: TrainingStage) -> tuple[float, float]:
    """Return the factors of the losses of good and of bad answers.

    Where the stage sets neither, both kinds weigh the same in total: the lighter kind gets the
    ratio of their weights, the other 1 (section 4.2 of the paper).
    """
    if stage.desirable_weight is not None or stage.undesirable_weight is not None:
        return stage.desirable_weight or 1.0, stage.undesirable_weight or 1.0
    good = sum(example["weight"] for example in examples if example["label"])
    bad = sum(example["weight"] for example in examples if not example["label"])
    return max(1.0, bad / good), max(1.0, good / bad)


def kto_trainer(parts: TrainerParts, stage: TrainingStage) -> LabelTrainer:
    """Build the trainer for examples of judged answers. Raises `JobError`."""
    hyper = parts.hyper
    desirable, undesirable = class_weights(parts.examples, stage)
    config = KTOConfig(
        **parts.arguments(),
        beta=hyper.beta,
        desirable_weight=desirable,
        undesirable_weight=undesirable,
        precompute_ref_log_probs=hyper.precompute_ref_log_probs,
        disable_dropout=not hyper.lora_dropout,
        train_sampling_strategy="sequential",  # the mismatched answers belong to fixed batches
    )
    rows = with_mismatched(parts.examples, hyper.per_device_batch, parts.seed)
    collator = LabelCollator(pad_token_id=parts.tokenizer.pad_token_id, max_length=hyper.max_length)
    return LabelTrainer(
        args=config,
        data_collator=collator,
        train_dataset=Dataset.from_list(rows),
        **parts.models(),
    )
