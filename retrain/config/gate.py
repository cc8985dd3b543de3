"""`[retrain.gate]`: what a candidate must show before promotion."""

from typing import Self

from pydantic import Field, model_validator

from common.settings import Section
from retrain.config.types import Share


class GateConfig(Section):
    """What a candidate must show before promotion. Read once, before the evaluation starts."""

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Significance level of the sign test: the largest accepted probability of promoting a
    candidate that is no better than live. A run without a canary gets less where the yearly budget
    applies (`retrain.budget`)."""
    comparisons: int = Field(default=400, ge=1)
    """Held-out questions that both versions answer. With 400 decisive ones a
    true win rate of 59 % is detected nine times in ten."""
    minimum: int = Field(default=380, ge=1)
    """Least number of compared questions for a promotion."""
    adjust_for_length: bool = True
    """Whether the candidate must also win once the length of its answers is allowed for. Judges
    tend to prefer longer answers."""
    agreement: Share = 0.75
    """Lowest accepted lower 95 % bound of the judge's agreement with held-out people, which each
    run measures. A judge below it does not gate: with `rollout = "canary"` the users of the canary
    decide alone, else nothing is promoted. 161 of 200 comparisons reach 0.75; two people agree on
    65 to 75 %. 0 trusts any judge."""
    agreement_comparisons: int = Field(default=100, ge=1)
    """Comparisons by held-out people from which on the agreement counts. With fewer, a judge that
    the settings name gates all the same, and one that the run trained (`judge = "people"`) does
    not."""
    assertion_margin: Share = 0.02
    """How far the candidate's pass rate on the suite may lie below live's."""
    harm_ceilings: dict[str, Share] = Field(default={})
    """Highest accepted mean of each harm metric over the candidate's answers."""
    wrong_call_ceiling: Share = 0.05
    """Highest accepted share of wrong or missing tool calls, of the questions on which live calls
    a tool: the candidate calls none, calls other tools, or gives arguments that do not satisfy the
    tool's JSON schema. Two samples of the same model differ as well: raise this value if they do on
    more than 5 %."""
    shortest: float = Field(default=0.5, gt=0, le=1)
    """Lowest accepted ratio of mean words per answer, candidate over live."""
    longest: float = Field(default=1.5, ge=1)
    """Highest accepted ratio of mean words per answer, candidate over live."""

    @model_validator(mode="after")
    def _can_promote(self) -> Self:
        if self.minimum > self.comparisons:
            raise ValueError(
                f"minimum ({self.minimum}) is above comparisons ({self.comparisons}), so nothing "
                "could ever be promoted: lower minimum or raise comparisons"
            )
        return self
