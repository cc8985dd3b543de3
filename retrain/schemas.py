"""Wire types of the weekly runs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from retrain.models import Rollout, RolloutEvent, Run

ExportFormat = Literal["trl", "openai"]


class RunOut(BaseModel):
    """One run. `figures` and `verdict` hold every number that its steps left.

    While it is under way `owner` (host:process:start) holds it, and `heartbeat_age_seconds` says
    how long ago that one last showed itself, by the clocks of both; `fence` counts the owners,
    `lost_owners` those that died.
    """

    model_config = ConfigDict(from_attributes=True)

    id: str
    channel: str
    slot: str
    attempt: int
    trigger: str
    state: str
    step: str
    created_at: datetime
    finished_at: datetime | None
    parent: str | None
    version: str | None
    cut_off: datetime | None
    cancel_requested: bool
    owner: str | None
    fence: int
    lost_owners: int
    lease_until: datetime | None
    heartbeat_age_seconds: float | None = None
    figures: dict[str, Any]
    verdict: dict[str, Any] | None
    reason: str | None

    @classmethod
    def of(cls, run: Run, now: datetime, lease_seconds: float) -> Self:
        """The run as the outside sees it at `now`."""
        shown = cls.model_validate(run)
        if run.owner is None or run.lease_until is None:
            return shown
        age = lease_seconds - (run.lease_until - now).total_seconds()
        return shown.model_copy(update={"heartbeat_age_seconds": max(0.0, age)})


class RolloutEventOut(BaseModel):
    """One decision about a rollout, with the online gate's numbers where it decided."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    move: str
    phase: str
    actor: str
    reason: str
    numbers: dict[str, Any]


class RolloutOut(BaseModel):
    """One version on its way to all users. `verdict` is the online gate's last one."""

    model_config = ConfigDict(from_attributes=True)

    version: str
    channel: str
    previous: str
    run: str | None
    phase: str
    began_at: datetime
    ended_at: datetime | None
    stages: list[dict[str, Any]]
    settings: dict[str, Any]
    verdict: dict[str, Any] | None
    reason: str
    events: list[RolloutEventOut] = []

    @classmethod
    def of(cls, rollout: Rollout, events: Sequence[RolloutEvent] = ()) -> Self:
        """The rollout as the outside sees it."""
        shown = cls.model_validate(rollout)
        decided = [RolloutEventOut.model_validate(event) for event in events]
        return shown.model_copy(update={"events": decided})


class PlanOut(BaseModel):
    """What a run would train on if it started now.

    `held_out_prompts` counts the different questions of held-out users; some may turn out to have
    been trained on; with fewer than `minimum_questions` the gate promotes nothing. `pairs` are
    those that fit into `max_length` tokens; the longest that does not has `longest_left_out` tokens
    (0: all fit). `problems` say why a run would not train.
    """

    channel: str
    since: datetime
    cut_off: datetime
    parent: str | None
    pairs: int
    pairs_by_signal: dict[str, int]
    filters: dict[str, int]
    minimum_pairs: int
    held_out_prompts: int
    minimum_questions: int
    max_length: int
    longest_left_out: int
    problems: list[str]
    would_train: bool
