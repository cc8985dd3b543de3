"""How a candidate that passed the offline gate meets users: the settings of a rollout."""

from pydantic import BaseModel, ConfigDict, Field

from retrain.gates.online import OnlineGateConfig

Metrics = frozenset[str]


class CanaryConfig(BaseModel):
    """The stages of a rollout, where `rollout = "canary"`: shadow, canary, watch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the requests that the candidate answers too, unseen."""
    shadow_answers: int = Field(default=200, ge=0)
    """So many, and it meets users. 0: it meets them at once."""
    shadow_failures: float = Field(default=0.02, ge=0, le=1)
    """A higher share of failed shadow answers ends the rollout."""
    shadow_hours: float = Field(default=24, gt=0)
    """The shadow ends after so long, however much it has answered."""
    first_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of the users who meet the canary first, until the guardrails have seen enough."""
    first_requests: int = Field(default=1_700, ge=0)
    """Requests of the canary that are enough; 0 begins with `share`."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the users after that. Information goes with share times (1 - share)."""
    watch_days: float = Field(default=7, ge=0)
    """After the promotion both versions are watched for so long; 0: not at all."""
    holdback_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of the users who stay on the version before while it is watched."""
    votes: Metrics = Metrics({"thumbs", "rating"})
    """Metrics that count as votes: yes or no, or one to five."""
    gate: OnlineGateConfig = OnlineGateConfig()
