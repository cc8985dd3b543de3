"""Check that the reference of DPO and KTO equals the policy before the first step.

On a warm start the reference is TRL's frozen copy of the live adapter (`ref`), otherwise the base
model with the adapter disabled. Training with a wrong reference raises no error, hence this check.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from retrain.trainer.errors import ReferenceMismatchError
from retrain.trainer.methods.shared import disable_dropout

POLICY, REFERENCE = ".default.", ".ref."
"""Parts of the parameters' names that PEFT derives from the two adapters' names."""
TOLERANCE = 1e-4
"""Largest |reward| that is attributed to rounding."""


class Referenced(Protocol):
    """A trainer whose loss has a reference."""

    args: Any
    beta: float
    data_collator: Any
    model: Any
    train_dataset: Any

    def reference_gap(self, batch: dict[str, Any]) -> Any:
        """Return log-probabilities of the policy minus those of the reference."""
        ...

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]: ...


def adapter_weights(policy: Any) -> dict[str, Any]:
    """Return a copy, in fp32, of the weights that a warm start begins with."""
    return {
        name: parameter.data.to(torch.float32, copy=True)
        for name, parameter in policy.named_parameters()
        if POLICY in name and parameter.requires_grad
    }


def restore_precision(model: Any, initial: Mapping[str, Any]) -> None:
    """Restore the policy's fp32 weights, which TRL casts to bf16 on a four-bit base model.

    TRL's trainers cast the trainable adapter to bf16 (as QLoRA, arXiv:2305.14314, does). The policy
    would then differ from the reference, which was copied in fp32 before, and from live; and in
    bf16 small updates are lost. Can be removed when TRL leaves the cast to PEFT
    (https://github.com/huggingface/peft/issues/2889).

    Args:
        model: The trainer's.
        initial: What `adapter_weights` returned before the trainer was built; empty for a new
            adapter.

    """
    for name, parameter in model.named_parameters():
        if POLICY in name and parameter.requires_grad:
            source = initial.get(name, parameter.data)
            parameter.data = source.to(parameter.device, torch.float32, copy=True)


def assert_reference(trainer: Referenced, *, warm_start: bool) -> float:
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


def _largest_reward(trainer: Referenced) -> float:
    size = min(trainer.args.per_device_train_batch_size, len(trainer.train_dataset))
    rows = [trainer.train_dataset[index] for index in range(size)]
    batch = trainer._prepare_inputs(trainer.data_collator(rows))
    disable_dropout(trainer.model)
    return float(trainer.beta * trainer.reference_gap(batch).abs().max())
