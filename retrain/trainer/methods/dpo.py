"""TRL's DPO trainer, fed token ids and pair weights, and stopped by the first NaN.

Written against TRL 1.16; each override says what it relies on.
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
    """Pads a batch as TRL does, and passes the pairs' weights on: `weight`, float32, (pairs,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch; chosen answers come first, then rejected ones."""
        batch: dict[str, Any] = super().torch_call(examples)
        weights = [example["weight"] for example in examples]
        batch["weight"] = torch.tensor(weights, dtype=torch.float32)
        return batch


class PairTrainer(DPOTrainer):
    """DPO on rows of `prompt_ids`, `chosen_ids`, `rejected_ids` and `weight`."""

    def _prepare_dataset(self, dataset: Dataset, *_args: Any, **_kwargs: Any) -> Dataset:
        """Pass the ids through: TRL would render and tokenise text, and so change them."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "weight" not in self._signature_columns:
            self._signature_columns.append("weight")

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Compute the reference without dropout; `train` switches back."""
        switch_off_dropout(self.model)
        return super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Return the reference's summed log-probabilities, (chosen, rejected), each (pairs,)."""
        return super().compute_ref_log_probs(model, _without_weight(inputs))

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: FBT001
        """Scale each pair's gradient by its weight.

        Every loss that a job may name depends on the parameters only through the pair's own
        log-probabilities, so scaling the gradient where it enters those is exactly the gradient of
        the weighted mean, whatever the losses; TRL itself only knows the plain mean. TRL calls
        `model` once, for the policy; the reference goes through `self.model`.
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
        """Run one forward and backward pass. Raises `NonFiniteError`."""
        loss = super().training_step(*args, **kwargs)
        if not math.isfinite(loss):
            step = self.state.global_step + 1
            raise NonFiniteError(f"the loss was not finite at step {step}; {_TOO_WILD}")
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Check the gradient; transformers asks for its norm before each optimiser step."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if not math.isfinite(norm):
            step = self.state.global_step + 1
            raise NonFiniteError(f"the gradient was not finite at step {step}; {_TOO_WILD}")
        return norm


def switch_off_dropout(model: Any) -> None:
    """Make the forward pass deterministic, until the next `model.train()`.

    Not by `model.eval()`: on a CPU with AVX512-BF16, bitsandbytes 0.50 repacks four-bit weights at
    their first forward in eval mode, and no gradient flows through repacked ones, without an error.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()


def _without_weight(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "weight"}


def dpo_config(job: Job, folder: Path, *, cuda: bool, bf16: bool) -> DPOConfig:
    """Put a job's hyper-parameters into TRL's terms; `folder` is scratch space."""
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
        max_length=None,  # longer pairs were dropped; TRL would cut them
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
