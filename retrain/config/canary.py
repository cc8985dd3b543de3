"""`[retrain.canary]`: the stages of a rollout and the online gate."""

from pydantic import ConfigDict, Field

from common.settings import CENTURY_DAYS, Days, Section
from retrain.config.types import Metrics


class OnlineGateConfig(Section):
    """What a canary must show before promotion. Read once, before the canary starts."""

    model_config = ConfigDict(frozen=True)

    alpha_promote: float = Field(default=0.02, gt=0, lt=0.5)
    """Largest probability of promoting a canary that is no better, over both vote streams.
    Where the yearly budget applies (`retrain.budget`), a canary gets less."""
    alpha_roll_back: float = Field(default=0.10, gt=0, lt=0.5)
    """Largest probability of rolling back a canary that is no worse, over both vote streams. Higher
    than `alpha_promote`, because a false rollback only costs a week."""
    alpha_guardrail: float = Field(default=0.01, gt=0, lt=0.5)
    """False alarm probability of each guardrail, and of the test whether voting depends on the
    arm."""
    rated_users: int = Field(default=200, ge=1)
    """Minimum sample size: rated users before quality decides anything."""
    longest_days: Days = Field(default=14, gt=0)
    """Days after which a canary without a decision is rolled back."""
    margin: float | None = Field(default=None, gt=0, lt=0.5)
    """Non-inferiority margin: also promote a canary that is shown to be worse by less than this
    difference in mean votes. None: promote only what is shown to be better."""
    alpha_margin: float = Field(default=0.02, gt=0, lt=0.5)
    """Largest probability of promoting a canary that is worse by `margin` or more."""


class CanaryConfig(Section):
    """The stages of a rollout, where `rollout = "canary"`: shadow, canary, watch."""

    model_config = ConfigDict(frozen=True)

    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Share of requests that the candidate also answers, without users seeing it."""
    shadow_answers: int = Field(default=200, ge=0)
    """Shadow answers required before the canary stage starts; 0 skips the shadow stage."""
    shadow_failures: float = Field(default=0.02, ge=0, le=1)
    """Largest accepted share of failed shadow answers; a higher one ends the rollout."""
    shadow_hours: float = Field(default=24, gt=0, le=24 * CENTURY_DAYS)
    """Hours after which the shadow stage ends, even with fewer than `shadow_answers`."""
    first_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of users who get the canary at first. Small, to limit the damage of a bad version."""
    first_requests: int = Field(default=1_700, ge=0)
    """Canary requests after which the share rises from `first_share` to `share`; 0 starts with
    `share`. In simulation, an error rate that rises from 0.2 % to 1 % raises the alarm after a
    median of 650 canary requests at a 5 % share."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Share of users who get the canary after that. 0.5 decides soonest: the evidence grows with
    share times (1 - share)."""
    watch_days: Days = Field(default=7, ge=0)
    """Days for which a promoted version is compared with its predecessor; 0 disables the watch."""
    holdback_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of users who keep the previous version during the watch."""
    votes: Metrics = Field(default=Metrics({"thumbs", "rating"}), min_length=1)
    """Metrics that count as votes: `thumbs`, `rating`, and custom ones that can say good and bad
    (`[feedback.metrics]`: a boolean, a number with `good` and `bad`, a category with `good_values`
    and `bad_values`). Only people's feedback on their own requests (`source` `HUMAN`) is a vote."""
    gate: OnlineGateConfig = OnlineGateConfig()
