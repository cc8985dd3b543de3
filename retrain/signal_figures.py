"""Figures of `[retrain.signals]` for manifests, dry runs and reports."""

from pydantic import BaseModel, ConfigDict


class SignalFigures(BaseModel):
    """What users did without a button, in numbers.

    Attributes:
        weights: The weights of the settings, by signal.
        repeated: Answers whose question was asked again (`against`), and second answers from which
            the conversation went on (`in_favour`).
        messages: Next messages that could be read (`found`), and how many of them a run reads at
            most (`to_read`). Those that were read by what they said of the answer: `accepted`,
            `rejected`, `neutral`. The rest were `unread`, or the reader `failed`.

    """

    model_config = ConfigDict(frozen=True)

    weights: dict[str, float] = {}
    repeated: dict[str, int] = {}
    messages: dict[str, int] = {}
