"""What the demo has to report on a rollout: `rollouts` in `report.json`."""

from collections.abc import Mapping
from datetime import datetime

from common.frozen_model import FrozenModel


class EvidencePoint(FrozenModel):
    """What the online gate saw at one look, `hours` after the rollout began.

    E values by stream (`first`: each user's first vote; `day`: the mean of a first day's votes) and
    claim about the newer version. `newer_users` and `older_users` are the rated users of each arm.
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
    """One event of the rollout: `move` led to `phase`; `share` is the newer version's from then."""

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
    """What users thought of one version while the rollout lasted."""

    up: int = 0
    given: int = 0

    @property
    def share(self) -> float | None:
        """Thumbs that went up; None where none was given."""
        return self.up / self.given if self.given else None

    def and_one(self, *, up: bool) -> "Thumbs":
        """One more."""
        return Thumbs(up=self.up + up, given=self.given + 1)


class RolloutReport(FrozenModel):
    """A version's way to all users, or back.

    `ended` is the phase that it ended in, `decided_by` the reason of the last decision. `users`
    chatted while it lasted. `better_at` and `worse_at` are the E values that decide.
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
        """The evidence at the canary's last look: what promoted it, or rolled it back."""
        looks = [point for point in self.evidence if point.phase == "canary"]
        return looks[-1] if looks else None
