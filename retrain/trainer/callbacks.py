"""Trainer callbacks: write an event for each of TRL's log entries."""

from typing import Any

from transformers import TrainerCallback

from retrain.trainer.events import EventWriter, Step


class StepEvents(TrainerCallback):
    """Writes TRL's log entries as `Step` events and keeps the last one."""

    def __init__(self, events: EventWriter) -> None:
        self._events = events
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
        self.last = Step(
            step=state.global_step,
            of=state.max_steps,
            loss=logs["loss"],
            reward_margin=logs["rewards/margins"],
            reward_accuracy=logs["rewards/accuracies"],
            learning_rate=logs["learning_rate"],
            grad_norm=float(logs["grad_norm"]),
            tokens=int(logs["num_tokens"]),
        )
        self._events.write(self.last)
