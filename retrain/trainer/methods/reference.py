"""The reference: what the policy is compared with, and must equal before the first step.

On a warm start it is the live adapter, which TRL copies as `ref`; else the base model, reached by
switching the adapter off. A wrong reference trains without complaint, so it is asserted.
"""

from typing import Any

import torch

from retrain.trainer.errors import ReferenceMismatchError
from retrain.trainer.methods.dpo import PairTrainer, switch_off_dropout

POLICY, REFERENCE = ".default.", ".ref."
TOLERANCE = 1e-4
"""Largest |reward| that rounding explains."""


def restore_precision(model: Any) -> None:
    """Give the policy back the precision that TRL took from it on a four-bit base.

    TRL casts the trainable adapter to bf16 after it has copied `ref` in fp32: the policy would not
    be the reference any more, and in bf16 small updates are lost.
    """
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        if POLICY in name and parameter.requires_grad:
            copied = parameters.get(name.replace(POLICY, REFERENCE))
            source = parameter if copied is None else copied
            parameter.data = source.data.to(torch.float32, copy=True)


def assert_reference(trainer: PairTrainer, *, warm_start: bool) -> float:
    """Return the largest |reward| on the first batch, which must be nearly nothing.

    It is taken on the log-probabilities that training will use, so precomputed ones are checked
    too; the batch is the first one of the precomputation, so that shapes and rounding agree.
    Raises `ReferenceMismatchError`.
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
    switch_off_dropout(trainer.model)
    policy = _policy_log_probs(trainer, batch)
    if trainer.precompute_ref_logps:
        reference = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
    else:
        reference = torch.cat(trainer.compute_ref_log_probs(trainer.model, batch))
    return float(trainer.beta * (policy - reference).abs().max())


def _policy_log_probs(trainer: PairTrainer, batch: dict[str, Any]) -> Any:
    """Return the policy's summed log-probabilities, chosen then rejected, (2 x pairs,)."""
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
