"""ORPO (arXiv:2403.07691) on token ids and weighted pairs, on the pair trainer's log-probabilities.

TRL's `ORPOTrainer` is experimental, renders and tokenizes text by itself, and takes the likelihood
of prompt and answer as one mean over the batch. Here the likelihood is the mean over the tokens of
each chosen *answer*, as in the paper. Below, B is the number of pairs in a batch.
"""

import math
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional
from trl import DPOConfig

from retrain.trainer.methods.dpo import PairCollator, PairTrainer
from retrain.trainer.methods.shared import TrainerParts, weighted, without_weight


class OddsTrainer(PairTrainer):
    """ORPO on rows of `prompt_ids`, `chosen_ids`, `rejected_ids` (lists of int) and `weight`."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: FBT001
        """Compute the loss, and scale each pair's gradient by its weight."""
        weights = torch.cat([inputs["weight"], inputs["weight"]])
        batch = without_weight(inputs)
        mask = batch.pop("completion_mask")
        labels = batch["input_ids"].masked_fill(mask == 0, -100)
        outputs = weighted(model, weights)(
            **batch, labels=labels, use_cache=False, fused_lm_head=True
        )
        chosen, rejected = (outputs.log_probs.sum(1) / mask[:, 1:].sum(1)).chunk(2)
        odds = log_odds_ratio(chosen, rejected)
        loss = (-chosen - self.beta * functional.logsigmoid(odds)).mean()
        self._note(batch, odds, -chosen)
        return (loss, outputs) if return_outputs else loss

    def _note(self, batch: dict[str, Any], odds: Any, likelihood: Any) -> None:
        """Add the figures that TRL writes to its log."""
        self._total_train_tokens += int(batch["attention_mask"].sum())
        metrics = self._metrics["train"]
        metrics["num_tokens"] = [self._total_train_tokens]
        metrics["log_odds_ratio"].append(float(odds.detach().mean()))
        metrics["nll"].append(float(likelihood.detach().mean()))


def log_odds_ratio(chosen: Any, rejected: Any) -> Any:
    """Return the logarithm of the ratio of the answers' odds, [B] (equation 4 of the paper).

    Args:
        chosen: Mean log-probability of the chosen answers' tokens, [B].
        rejected: The same of the rejected answers.

    """
    return (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))


def _log1mexp(x: Any) -> Any:
    """Return log(1 - exp(x)) for x < 0, without loss of precision (Mächler 2012)."""
    x = x.float().clamp(max=-torch.finfo(torch.float32).tiny)
    near_zero = x > -math.log(2)
    return torch.where(
        near_zero, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x.clamp(max=-0.5)))
    )


def orpo_trainer(parts: TrainerParts) -> OddsTrainer:
    """Build the trainer for examples of pairs."""
    config = DPOConfig(
        **parts.arguments(),
        beta=parts.hyper.beta,
        precompute_ref_log_probs=False,  # there is no reference
        disable_dropout=not parts.hyper.lora_dropout,
    )
    return OddsTrainer(
        args=config,
        data_collator=PairCollator(pad_token_id=parts.tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(parts.examples),
        **parts.models(),
    )
