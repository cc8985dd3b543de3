"""Train a reward model: Bradley and Terry's loss on comparisons, a logistic one on labels.

Both are negative log-likelihoods of votes: of sigmoid(better - worse), and of sigmoid(score) or
sigmoid(-score). So one scalar learns from both (as in the Bradley-Terry model with a threshold);
TRL's `RewardTrainer` takes pairs only, and has no weights.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from transformers import TrainingArguments

from retrain.trainer.methods.shared import WeightedTrainer
from retrain.trainer.model import Device
from retrain.trainer.reward.jobs import RewardJob
from retrain.trainer.reward.model import RewardModel, padded
from retrain.trainer.reward.votes import PeopleVote


@dataclass(frozen=True, slots=True)
class VoteCollator:
    """Makes batches of votes."""

    def __call__(self, votes: Sequence[PeopleVote]) -> dict[str, Any]:
        """Return a batch of V votes on N answers.

        Returns:
            The arguments of `RewardModel.forward`, and `signs`, float32 [V, N]: +1 for an answer
            that the vote speaks for, -1 for one that it speaks against, else 0; `weight`,
            float32 [V].

        """
        answers = [answer for vote in votes for answer in vote.answers]
        signs, place = torch.zeros(len(votes), len(answers)), 0
        for row, vote in enumerate(votes):
            for sign in _signs(vote):
                signs[row, place] = sign
                place += 1
        weights = torch.tensor([vote.weight for vote in votes], dtype=torch.float32)
        return {**padded(answers), "signs": signs, "weight": weights}


def _signs(vote: PeopleVote) -> tuple[float, ...]:
    if vote.good is None:
        return 1.0, -1.0
    return (1.0,) if vote.good else (-1.0,)


class RewardTrainer(WeightedTrainer):
    """Trains a `RewardModel` on votes. Stops at the first loss or gradient that is not finite."""

    def __init__(self, *, head_learning_rate: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.model_accepts_loss_kwargs = False
        self._head_learning_rate = head_learning_rate
        self._figures: dict[str, list[float]] = defaultdict(list)
        self._tokens = 0

    def create_optimizer(self, model: Any = None) -> Any:
        """Give the head, which starts from nothing, a learning rate of its own."""
        optimizer = super().create_optimizer(model)
        head = [*self.model.head.parameters(), *self.model.likelihood.parameters()]
        known = {id(parameter) for parameter in head}
        for group in optimizer.param_groups:
            group["params"] = [one for one in group["params"] if id(one) not in known]
        optimizer.add_param_group({"params": head, "lr": self._head_learning_rate})
        return optimizer

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: FBT001, FBT002  (transformers' signature)
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        """Return the weighted mean of the votes' negative log-likelihoods."""
        signs, weights = inputs["signs"], inputs["weight"]
        known = {name: inputs[name] for name in ("input_ids", "lengths", "figures")}
        margins = signs @ model(**known)
        self._note(margins.detach(), inputs["lengths"])
        loss = -(weights * logsigmoid(margins)).mean()
        return (loss, margins) if return_outputs else loss

    def _note(self, margins: Any, lengths: Any) -> None:
        self._figures["rewards/margins"].append(float(margins.mean()))
        self._figures["rewards/accuracies"].append(float((margins > 0).float().mean()))
        self._tokens += int(lengths.sum())

    def log(self, logs: dict[str, float], *arguments: Any, **more: Any) -> None:
        """Add the figures that TRL's trainers log, for the same events."""
        means = {name: sum(seen) / len(seen) for name, seen in self._figures.items()}
        self._figures.clear()
        super().log({**logs, **means, "num_tokens": self._tokens}, *arguments, **more)


def reward_trainer(
    job: RewardJob, device: Device, model: RewardModel, votes: Sequence[PeopleVote], folder: Path
) -> RewardTrainer:
    """Return the trainer of a job; `folder` is scratch space."""
    return RewardTrainer(
        model=model,
        args=_arguments(job, folder, device),
        data_collator=VoteCollator(),
        train_dataset=list(votes),
        head_learning_rate=job.head_learning_rate,
    )


def _arguments(job: RewardJob, folder: Path, device: Device) -> TrainingArguments:
    hyper = job.hyper
    optimizer = "paged_adamw_8bit" if device.cuda else "adamw_torch"
    return TrainingArguments(
        output_dir=str(folder),
        seed=job.seed,
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
        logging_steps=hyper.logging_steps,
        logging_nan_inf_filter=False,
        logging_first_step=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=not device.cuda,
        bf16=device.bf16,
        dataloader_pin_memory=device.cuda,
    )
