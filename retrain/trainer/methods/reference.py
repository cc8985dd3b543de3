"""Check that DPO's reference model equals the policy before the first step.

On a warm start the reference is TRL's frozen copy of the live adapter (`ref`), otherwise the base
model with the adapter disabled. Training with a wrong reference raises no error, hence this check.
"""

from typing import Any

import torch

from retrain.trainer.errors import ReferenceMismatchError
from retrain.trainer.methods.dpo import PairTrainer, disable_dropout

POLICY, REFERENCE = ".default.", ".ref."
"""Parts of the parameters' names that PEFT derives from the two adapters' names."""
TOLERANCE = 1e-4
"""Largest |reward| that is attributed to rounding."""


def restore_precision(model: Any) -> None:
    """Restore the policy's fp32 weights, which TRL casts to bf16 on a four-bit base model.

    `DPOTrainer.__init__` casts the trainable adapter to bf16 (as QLoRA, arXiv:2305.14314, does)
    after it has copied the adapter to `ref` in fp32. The policy would then differ from the
    reference, and in bf16 small updates are lost. Can be removed when TRL leaves the cast to PEFT
    (https://github.com/huggingface/peft/issues/2889).
    """
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        if POLICY in name and parameter.requires_grad:
            copied = parameters.get(name.replace(POLICY, REFERENCE))
            source = parameter if copied is None else copied
            parameter.data = source.data.to(torch.float32, copy=True)


def assert_reference(trainer: PairTrainer, *, warm_start: bool) -> float:
    """Return the largest |reward| on the first batch, which must be at most `TOLERANCE`.

    The reward of an answer is `beta * (policy log-prob - reference log-prob)`. The check uses the
    log-probabilities that training uses, precomputed ones included, and the first batch of the
    precomputation, so that padding and rounding are the same.

    Raises:
        ReferenceMismatchError: The reward is larger or NaN, or on a warm start the tensors of
            policy and reference differ.

    """
    if warm_start:
        _assert_same_tensors(trainer.model)
    largest = _largest_reward(trainer)
    if not largest <= TOLERANCE:  # also when it is NaN
        raise ReferenceMismatchError(
            f"before the first step the policy's reward is {largest:.2g}, not 0: the reference is "
            "not what training starts from; check warm_start and the installed trl and peft"
        )
    return largest


def _assert_same_tensors(model: Any) -> None:
    parameters = dict(model.named_parameters())
    policy = {name: value for name, value in parameters.items() if POLICY in name}
    same = bool(policy) and all(
        _is_frozen_copy(parameters.get(name.replace(POLICY, REFERENCE)), value)
        for name, value in policy.items()
    )
    if not same:
        raise ReferenceMismatchError(
            "the reference adapter is not a frozen copy of the live one; "
            "check the installed trl and peft"
        )


def _is_frozen_copy(reference: Any, policy: Any) -> bool:
    return (
        reference is not None
        and bool(torch.equal(reference, policy))
        and bool(policy.requires_grad)
        and not reference.requires_grad
    )


def _largest_reward(trainer: PairTrainer) -> float:
    size = min(trainer.args.per_device_train_batch_size, len(trainer.train_dataset))
    rows = [trainer.train_dataset[index] for index in range(size)]
    batch = trainer._prepare_inputs(trainer.data_collator(rows))
    disable_dropout(trainer.model)
    policy = _policy_log_probs(trainer, batch)
    if trainer.precompute_ref_logps:
        reference = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
    else:
        reference = torch.cat(trainer.compute_ref_log_probs(trainer.model, batch))
    return float(trainer.beta * (policy - reference).abs().max())


def _policy_log_probs(trainer: PairTrainer, batch: dict[str, Any]) -> Any:
    """Return the policy's log-probabilities, summed over the tokens of each answer.

    The result is float32 of shape [2B]: the chosen answers, then the rejected ones.
    """
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    with torch.no_grad(), trainer.accelerator.autocast():
        outputs = trainer.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            labels=labels,
            use_cache=False,
            fused_lm_head=True,
        )
    return outputs.log_probs.sum(dim=1)
