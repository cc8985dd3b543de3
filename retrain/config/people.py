"""`[retrain.people_judge]`: the reward model of `judge = "people"`."""

from pydantic import ConfigDict, Field

from common.settings import Section
from retrain.config.types import Positive


class PeopleJudgeConfig(Section):
    """The reward model that judges where `judge = "people"`: LoRA and a scalar head on the base.

    Each run trains it on all feedback in the window, at the sizes and precision of
    `[retrain.hyper]`, and checks it on users whose feedback is never trained on.
    """

    model_config = ConfigDict(frozen=True)

    minimum_votes: Positive = 300
    """Least number of comparisons and rated answers to train on. With fewer there is no judge in
    that run, and it says so."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of the LoRA weights; ten times as high as for DPO, as usual for reward
    models with LoRA."""
    head_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of the head, which starts from nothing."""
    epochs: float = Field(default=2.0, gt=0)
    """Passes over the votes. Reward models overfit after few."""
    lora_rank: Positive = 16
    """Rank of the LoRA weights."""
    lora_alpha: Positive = 32
    """Scale of the LoRA weights: their update is multiplied by `lora_alpha / lora_rank`."""
    label_weight: float = Field(default=1.0, ge=0)
    """Weight of an answer that was rated by itself (a thumb), where a comparison has 1. 0 learns
    from comparisons only."""
