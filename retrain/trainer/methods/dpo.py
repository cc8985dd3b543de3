"""DPO (arXiv:2305.18290) on token ids and weighted pairs, as a subclass of TRL's `DPOTrainer`.

Written for TRL 1.16 (`trl.trainer.dpo_trainer`); each override states what it relies on. Training
stops at the first loss or gradient that is not finite. Below, B is the number of pairs in a batch
and T the length of its longest sequence in tokens.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from retrain.trainer.errors import NonFiniteError
from retrain.trainer.job import Job

_TOO_WILD = "lower learning_rate, or look for broken pairs or weights; nothing was saved"


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
        weights = [example["weight"] for example in examples]
        batch["weight"] = torch.tensor(weights, dtype=torch.float32)
        return batch


class PairTrainer(DPOTrainer):
    """DPO on rows of `prompt_ids`, `chosen_ids`, `rejected_ids` (lists of int) and `weight`."""

    def _prepare_dataset(self, dataset: Dataset, *_args: Any, **_kwargs: Any) -> Dataset:
        """Keep the rows as they are; TRL would render text and tokenize it again."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "weight" not in self._signature_columns:
            self._signature_columns.append("weight")

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Compute the reference without dropout; `model.train()` enables dropout again."""
        disable_dropout(self.model)
        return super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Return the reference's log-probabilities of the chosen and rejected answers, [B] each."""
        return super().compute_ref_log_probs(model, _without_weight(inputs))

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: FBT001
        """Compute the loss, and scale each pair's gradient by its weight.

        TRL has no pair weights. Every loss in `LossType` depends on the parameters only through the
        log-probabilities of the pair's own answers. A hook on `outputs.log_probs` ([2B, T-1])
        multiplies the gradient there by the pair's weight, which gives exactly the gradient of
        the weighted mean. The reported loss is unweighted.

        This relies on TRL calling `model` once, for the policy, and `self.model` for the reference.
        It can be removed when TRL supports weights of examples.
        """
        weights = inputs["weight"]

        def weighted(**model_inputs: Any) -> Any:
            outputs = model(**model_inputs)
            if outputs.log_probs.requires_grad:
                scale = torch.cat([weights, weights])[:, None]
                outputs.log_probs.register_hook(lambda gradient: gradient * scale.to(gradient))
            return outputs

        return super()._compute_loss(weighted, _without_weight(inputs), return_outputs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run one forward and backward pass. Raises `NonFiniteError` if the loss is not finite."""
        loss = super().training_step(*args, **kwargs)
        if not math.isfinite(loss):
            step = self.state.global_step + 1
            raise NonFiniteError(f"the loss was not finite at step {step}; {_TOO_WILD}")
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the norm of the gradient. Raises `NonFiniteError` if it is not finite.

        transformers' `Trainer` calls this before each optimizer step.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if not math.isfinite(norm):
            step = self.state.global_step + 1
            raise NonFiniteError(f"the gradient was not finite at step {step}; {_TOO_WILD}")
        return norm


def disable_dropout(model: Any) -> None:
    """Disable dropout until the next call of `model.train()`.

    `model.eval()` cannot be used: on a CPU with AVX512-BF16, bitsandbytes 0.50 repacks four-bit
    weights at the first forward pass in eval mode, and gradients through repacked weights are
    silently lost. This can become `model.eval()` once bitsandbytes no longer does so.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()


def _without_weight(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "weight"}


def dpo_config(job: Job, folder: Path, *, cuda: bool, bf16: bool) -> DPOConfig:
    """Translate a job's hyper-parameters into a `DPOConfig`; `folder` is scratch space."""
    hyper = job.hyper
    checkpointing = cuda if hyper.gradient_checkpointing is None else hyper.gradient_checkpointing
    optimizer = "paged_adamw_8bit" if cuda else "adamw_torch"
    return DPOConfig(
        output_dir=str(folder),
        seed=job.seed,
        loss_type=list(hyper.loss_type),
        loss_weights=list(hyper.loss_weights),
        beta=hyper.beta,
        label_smoothing=hyper.label_smoothing,
        learning_rate=hyper.learning_rate,
        lr_scheduler_type=hyper.scheduler,
        warmup_steps=hyper.warmup_steps,
        weight_decay=hyper.weight_decay,
        max_grad_norm=hyper.max_grad_norm,
        optim=optimizer if hyper.optimizer == "auto" else hyper.optimizer,
        per_device_train_batch_size=hyper.per_device_batch,
        gradient_accumulation_steps=hyper.gradient_accumulation,
        num_train_epochs=hyper.epochs,
        max_steps=hyper.max_steps or -1,
        max_length=None,  # longer pairs have been dropped; TRL would truncate them
        gradient_checkpointing=checkpointing,
        precompute_ref_log_probs=hyper.precompute_ref_log_probs,
        disable_dropout=not hyper.lora_dropout,
        logging_steps=hyper.logging_steps,
        logging_nan_inf_filter=False,
        logging_first_step=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not cuda,
        bf16=bf16,
        dataloader_pin_memory=cuda,
    )
