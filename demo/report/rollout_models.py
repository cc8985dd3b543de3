"""The models of a rollout's report: `rollouts` in `report.json`."""

from collections.abc import Mapping
from datetime import datetime

from common.frozen_model import FrozenModel


class EvidencePoint(FrozenModel):
    """The online gate's evidence at one look, `hours` after the rollout began.

    It has an e-value for each claim about the newer version (better, worse) and each stream
    (`first`: each user's first vote; `day`: the mean of a user's votes on the first day).
    `newer_users` and `older_users` are the rated users of each arm.
    """

    hours: float
    phase: str
    newer_users: int
    older_users: int
    first_better: float
    first_worse: float
    day_better: float
    day_worse: float

    @property
    def better(self) -> float:
        """The stronger stream's evidence that the newer version is better."""
        return max(self.first_better, self.day_better)

    @property
    def worse(self) -> float:
        """The stronger stream's evidence that the newer version is worse."""
        return max(self.first_worse, self.day_worse)


class DecisionReport(FrozenModel):
    """One event of the rollout: `move` led to `phase`; `share` is the newer one's from then on."""

    at: datetime
    hours: float
    move: str
    phase: str
    share: float | None
    reason: str


class GuardrailReport(FrozenModel):
    """A guardrail's strongest evidence at any look, in any phase."""

    name: str
    evidence: float
    threshold: float


class Thumbs(FrozenModel):
    """The thumbs that one version got during the rollout."""

    up: int = 0
    given: int = 0

    @property
    def share(self) -> float | None:
        """The share of thumbs up; None without any thumb."""
        return self.up / self.given if self.given else None

    def and_one(self, *, up: bool) -> "Thumbs":
        """Return the counts with one more thumb."""
        return Thumbs(up=self.up + up, given=self.given + 1)


class RolloutReport(FrozenModel):
    """One version's rollout, from its start to its promotion or rollback.

    `ended` is its last phase and `decided_by` the reason of the last decision. `users` is the
    number of users who chatted meanwhile. `better_at` and `worse_at` are the e-values that decide.
    """

    version: str
    previous: str
    slot: str
    began_at: datetime
    ended_at: datetime | None
    ended: str
    decided_by: str
    users: int
    better_at: float
    worse_at: float
    rated_at_least: int
    decisions: tuple[DecisionReport, ...] = ()
    evidence: tuple[EvidencePoint, ...] = ()
    guardrails: tuple[GuardrailReport, ...] = ()
    thumbs: Mapping[str, Thumbs] = {}

    @property
    def last_look(self) -> EvidencePoint | None:
        """The evidence at the canary's last look, which promoted it or rolled it back."""
        looks = [point for point in self.evidence if point.phase == "canary"]
        return looks[-1] if looks else None
