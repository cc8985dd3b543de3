"""The settings of one rollout, as they were at its start."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field

from feedback.config import MetricConfig
from retrain.config import CanaryConfig


class TrialSettings(CanaryConfig):
    """What is fixed for a rollout before it starts: later changes of the settings do not affect it.

    `metrics` are the definitions of the custom metrics among `votes`: what counts as a good vote
    must not be chosen after the votes were seen.
    """

    metrics: dict[str, MetricConfig] = Field(default_factory=dict)

    @classmethod
    def of(cls, config: CanaryConfig, metrics: Mapping[str, MetricConfig]) -> Self:
        """Return the settings of a rollout that starts now; `metrics` are all custom ones."""
        named = {name: metrics[name] for name in sorted(config.votes & metrics.keys())}
        return cls(**dict(config), metrics=named)
