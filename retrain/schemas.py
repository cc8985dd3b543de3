"""Wire types of runs and rollouts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from retrain.config import Method, OnlineGateConfig
from retrain.dataset.balance.mix import MixChange
from retrain.gates.evidence import STREAMS
from retrain.models import Rollout, RolloutEvent, Run
from retrain.signal_figures import SignalFigures


class RunOut(BaseModel):
    """One run. `figures` and `verdict` hold the results of its steps.

    While the run is in progress, `owner` (host:process:start) executes it, and
    `heartbeat_age_seconds` is the time since the owner renewed its lease, as far as the clocks of
    both servers agree. `fence` counts all owners, `lost_owners` those that died.
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
        """Return the run as the API shows it at `now`."""
        shown = cls.model_validate(run)
        if run.owner is None or run.lease_until is None:
            return shown
        age = lease_seconds - (run.lease_until - now).total_seconds()
        return shown.model_copy(update={"heartbeat_age_seconds": max(0.0, age)})


class RolloutEventOut(BaseModel):
    """One decision about a rollout, with the online gate's numbers if it made the decision."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    move: str
    phase: str
    actor: str
    reason: str
    numbers: dict[str, Any]


class RolloutOut(BaseModel):
    """The rollout of one version. `verdict` is the latest one of the online gate.

    `alpha` is what its promotion has taken from the channel's yearly budget of false promotions;
    None where it takes nothing. It is promoted when the evidence of either stream for it reaches
    `threshold`.
    """

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
    alpha: float | None = None
    threshold: float = 0.0
    verdict: dict[str, Any] | None
    reason: str
    events: list[RolloutEventOut] = []

    @classmethod
    def of(cls, rollout: Rollout, events: Sequence[RolloutEvent] = ()) -> Self:
        """Return the rollout as the API shows it."""
        shown = cls.model_validate(rollout)
        decided = [RolloutEventOut.model_validate(event) for event in events]
        gate = OnlineGateConfig.model_validate(rollout.settings.get("gate", {}))
        threshold = len(STREAMS) / gate.alpha_promote
        return shown.model_copy(update={"events": decided, "threshold": threshold})


class BudgetOut(BaseModel):
    """A channel's budget of false promotions.

    `wallet` is the alpha that is left now, at most `cap`; the next canary that takes from it gets
    `next_alpha`. `spent` is the sum of the alphas of the last 365 days.
    """

    channel: str
    applies: bool
    false_promotions: float
    wallet: float
    cap: float
    next_alpha: float
    spent: float


class PlanOut(BaseModel):
    """What a run would train on if it started now.

    `held_out_prompts` is the number of distinct questions of held-out users, some of which may have
    been trained on; with fewer than `minimum_questions` the gate promotes nothing. `pairs` is the
    number of pairs of at most `max_length` tokens; the longest one above has `longest_left_out`
    tokens, 0 if there is none. `problems` are the reasons why a run would not train. `methods` are
    the methods that it would train with, in order; `reasons` say why these, and why not others.
    `labels` are answers that were judged by themselves and are in no pair. `judgements` counts the
    judgements on the window's `interactions` by what became of them, each once. `held_out_pairs`
    and `held_out_labels` are judgements of held-out users, which are never trained on. The mixes
    say what pairs and labels are made of, before near-duplicates were removed and shares limited
    (`retrain.balance`), and after.
    At most `counterpart_questions` would be asked again, for `counterpart_answers` new answers in
    `counterpart_seconds` seconds. `fresh_votes` is the number of judgements since the last run's
    snapshot that could train; with `votes_needed` of them a run starts by itself (None: not because
    of votes).
    """

    channel: str
    since: datetime
    cut_off: datetime
    parent: str | None
    pairs: int
    pairs_by_signal: dict[str, int]
    filters: dict[str, int]
    signals: SignalFigures | None = None
    minimum_pairs: int
    held_out_prompts: int
    minimum_questions: int
    max_length: int
    longest_left_out: int
    problems: list[str]
    would_train: bool
    methods: list[Method] = []
    reasons: list[str] = []
    interactions: int = 0
    judgements: dict[str, int] = {}
    labels: int = 0
    labels_up: int = 0
    labels_down: int = 0
    labels_by_signal: dict[str, int] = {}
    held_out_pairs: int = 0
    held_out_labels: int = 0
    pairs_mix: MixChange = MixChange()
    labels_mix: MixChange = MixChange()
    counterpart_questions: int = 0
    counterpart_answers: int = 0
    counterpart_seconds: float = 0.0
    fresh_votes: int = 0
    votes_needed: int | None = None
