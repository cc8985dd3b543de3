"""`[retrain.enough]` and `[retrain.budget]`: when runs start, and how many false promotions may."""

from pydantic import Field

from common.settings import Section


class EnoughConfig(Section):
    """When a run starts, where `when = "enough"`."""

    votes: int = Field(default=100, ge=1)
    """Fresh judgements that start a run: by raters who are not held out, on answers of the current
    base model, after the last run's snapshot. They are counted, whatever they say."""
    hours: float = Field(default=4, ge=1, le=24 * 366)
    """Least hours between two starts of a channel; 4 allows six a day. Without a canary and without
    approval (`rollout = "direct"`, `approval = "auto"`) at least 168, a week: there, only the
    questions of the same held-out users decide."""


class BudgetConfig(Section):
    """How many false promotions a channel may expect. See "Why it holds" in ARCHITECTURE.md."""

    false_promotions: float = Field(default=0.05, gt=0, lt=1)
    """Largest expected number of false promotions of a channel in any 365 days: versions that are
    promoted without a person although they are no better than live (with
    `retrain.canary.gate.margin`: worse by the margin or more). Each canary takes an alpha from it
    when it starts, at most `retrain.canary.gate.alpha_promote`; without a canary each run does, at
    most `retrain.gate.alpha`. Applies where `when = "enough"`, and where no judge stands before
    the canary."""
    weekly: bool = False
    """Whether it also applies to weekly runs behind a judge. Otherwise their canaries are promoted
    at `alpha_promote`, and the number of false promotions depends on the judge as well."""
