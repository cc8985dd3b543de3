"""Trainer callbacks: write an event for each of TRL's log entries."""

from typing import Any

from transformers import TrainerCallback

from retrain.config import Method
from retrain.trainer.events import EventWriter, Step

FIGURES: dict[Method, dict[str, str]] = {
    "dpo": {"reward_margin": "rewards/margins", "reward_accuracy": "rewards/accuracies"},
    "kto": {"reward_margin": "rewards/margins", "kl": "kl"},
    "orpo": {"log_odds_ratio": "log_odds_ratio"},
    "sft": {"token_accuracy": "mean_token_accuracy"},
}
"""By method, the figures of a step and their names in TRL's log entries."""


class StepEvents(TrainerCallback):
    """Writes TRL's log entries as `Step` events and keeps the last one."""

    def __init__(self, events: EventWriter, stage: int = 1, method: Method = "dpo") -> None:
        self._events = events
        self._stage = stage
        self._method = method
        self.last: Step | None = None

    def on_log(
        self,
        args: Any,  # noqa: ARG002 - transformers passes it
        state: Any,
        control: Any,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_kwargs: Any,
    ) -> None:
        """Write a `Step` event. The final summary has no loss and is ignored."""
        if not logs or "loss" not in logs:
            return
        named = FIGURES[self._method]
        self.last = Step(
            stage=self._stage,
            method=self._method,
            step=state.global_step,
            of=state.max_steps,
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            grad_norm=float(logs["grad_norm"]),
            tokens=int(logs["num_tokens"]),
            **{figure: logs[key] for figure, key in named.items() if key in logs},
        )
        self._events.write(self.last)
