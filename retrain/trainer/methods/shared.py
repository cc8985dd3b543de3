"""What all methods share: weights of examples, checks for NaN, dropout, training arguments.

Written for TRL 1.16; each override states what it relies on. Below, N is the number of sequences in
a batch and T the length of the longest one in tokens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import Trainer

from retrain.config import HyperParameters
from retrain.trainer.errors import NonFiniteError

_TOO_WILD = "lower learning_rate, or look for broken pairs or weights; nothing was saved"


@dataclass(frozen=True, slots=True)
class TrainerParts:
    """What a trainer is built of.

    Attributes:
        policy: The base model; on a warm start with the adapter to start from.
        lora: The config of a new adapter; None on a warm start.
        tokenizer: The base model's. It has a padding token.
        examples: The dataset's rows.
        hyper: The stage's hyper-parameters.
        seed: Seed of the order of the examples.
        folder: Scratch space.
        cuda: Whether to train on the GPU.
        bf16: Whether to compute in bf16.

    """

    policy: Any
    lora: LoraConfig | None
    tokenizer: Any
    examples: list[Any]
    hyper: HyperParameters
    seed: int
    folder: Path
    cuda: bool
    bf16: bool

    def arguments(self) -> dict[str, Any]:
        """Return the fields of `TrainingArguments` that all methods set alike."""
        hyper = self.hyper
        automatic = "paged_adamw_8bit" if self.cuda else "adamw_torch"
        checkpointing = hyper.gradient_checkpointing
        return {
            "output_dir": str(self.folder),
            "seed": self.seed,
            "learning_rate": hyper.learning_rate,
            "lr_scheduler_type": hyper.scheduler,
            "warmup_steps": hyper.warmup_steps,
            "weight_decay": hyper.weight_decay,
            "max_grad_norm": hyper.max_grad_norm,
            "optim": automatic if hyper.optimizer == "auto" else hyper.optimizer,
            "per_device_train_batch_size": hyper.per_device_batch,
            "gradient_accumulation_steps": hyper.gradient_accumulation,
            "num_train_epochs": hyper.epochs,
            "max_steps": hyper.max_steps or -1,
            "max_length": None,  # longer rows have been dropped; TRL would truncate them
            "gradient_checkpointing": self.cuda if checkpointing is None else checkpointing,
            "logging_steps": hyper.logging_steps,
            "logging_nan_inf_filter": False,
            "logging_first_step": True,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": not self.cuda,
            "bf16": self.bf16,
            "dataloader_pin_memory": self.cuda,
        }

    def models(self) -> dict[str, Any]:
        """Return the trainer's arguments that name the model and the tokenizer."""
        return {
            "model": self.policy,
            "processing_class": self.tokenizer,
            "peft_config": self.lora,
        }


class WeightedTrainer(Trainer):
    """Weights of examples and checks for NaN, in front of one of TRL's trainers.

    A subclass names this class before TRL's, so that `super()` is TRL's.
    """

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "weight" not in self._signature_columns:
            self._signature_columns.append("weight")

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


class ReferencedTrainer(WeightedTrainer):
    """What DPO and KTO share: token ids as they are, and a reference without dropout."""

    def _prepare_dataset(self, dataset: Any, *_args: Any, **_kwargs: Any) -> Any:
        """Keep the rows as they are; TRL would render text and tokenize it again."""
        return dataset

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Compute the reference without dropout; `model.train()` enables dropout again."""
        disable_dropout(self.model)
        return super()._precompute_ref_logps(dataset, name, batch_size)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Return what TRL's method returns; the weights are not passed to the model."""
        return super().compute_ref_log_probs(model, without_weight(inputs))


def weighted(model: Any, weights: Any) -> Callable[..., Any]:
    """Return the model with a hook that multiplies each sequence's gradient by its weight.

    TRL has no weights of examples. The losses of its methods depend on the parameters only through
    the log-probabilities of each example's own tokens. A hook on `outputs.log_probs` ([N, T-1])
    multiplies the gradient there, which gives exactly the gradient of the weighted mean. The
    reported loss is unweighted.

    Args:
        model: What TRL calls; it is called for the policy only.
        weights: float32 [N], in the order of the sequences in the batch.

    """

    def call(**inputs: Any) -> Any:
        outputs = model(**inputs)
        if outputs.log_probs.requires_grad:
            scale = weights[:, None]
            outputs.log_probs.register_hook(lambda gradient: gradient * scale.to(gradient))
        return outputs

    return call


def without_weight(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the batch without its weights, which the model's forward does not know."""
    return {name: value for name, value in inputs.items() if name != "weight"}


def weights_of(examples: list[dict[str, Any]]) -> Any:
    """Return the examples' weights, float32 [N]."""
    return torch.tensor([example["weight"] for example in examples], dtype=torch.float32)


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


def policy_log_probs(trainer: Any, ids: Any, attention: Any, completion: Any) -> Any:
    """Return the policy's log-probabilities, summed over the tokens of each answer.

    Args:
        trainer: A trainer of TRL, whose model has the fused head.
        ids: Token ids, int64 [N, T].
        attention: 1 where there is a token.
        completion: 1 on the answers.

    Returns:
        float32 [N].

    """
    labels = ids.masked_fill(completion == 0, -100)
    with torch.no_grad(), trainer.accelerator.autocast():
        outputs = trainer.model(
            input_ids=ids,
            attention_mask=attention,
            labels=labels,
            use_cache=False,
            fused_lm_head=True,
        )
    return outputs.log_probs.sum(dim=1)
