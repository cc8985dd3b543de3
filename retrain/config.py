"""The weekly run's section of the settings. Importing it imports no training library."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from retrain.canary_config import CanaryConfig
from retrain.evaluation.judges import JudgeEndpoint
from retrain.evaluation.run import EvaluationConfig
from retrain.gates.offline import GateConfig
from retrain.trainer.job import HyperParameters

Source = Literal["HUMAN", "LLM_JUDGE", "CODE"]
JudgeSpec = Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")]

DEFAULT_COMMAND = (sys.executable, "-m", "retrain.trainer")


class PairsConfig(BaseModel):
    """How judgements become pairs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events_per_rater: int = Field(default=25, ge=1)
    """Judgements of one rater that count in an ISO week; the earliest ones."""
    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the users who never train: their questions are the evaluation's."""
    thumb_pairs_per_conversation: int = Field(default=2, ge=0)
    rating_margin: int = Field(default=2, ge=1, le=4)
    """Two ratings by one rater make a pair if they lie this far apart."""
    sources: frozenset[Source] = frozenset({"HUMAN", "LLM_JUDGE", "CODE"})
    """Whose judgements train."""


class TrainerConfig(BaseModel):
    """How the trainer is started."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = Field(default=DEFAULT_COMMAND, min_length=1)
    """The job file is appended. One process: `accelerate launch --num_processes 1 -m
    retrain.trainer`. It takes GPU 0; with `["env", "CUDA_VISIBLE_DEVICES=1",
    "/opt/pawl/.venv/bin/python", "-m", "retrain.trainer"]` another."""
    descendant: bool = True
    """Whether that trainer is below the server in the process tree, and so can die with it; false
    where the command has it run in a container or on another machine."""
    terminate_seconds: float = Field(default=10, gt=0)
    """A trainer that is told to stop is killed after so long."""
    learning_rate_first: float | None = Field(default=None, gt=0)
    """For a fresh adapter; None: the same as for a warm start (`hyper.learning_rate`)."""
    tensorboard: bool = True


class RetrainConfig(BaseModel):
    """The weekly run."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = True
    """Whether the scheduler starts runs; by hand they can be started all the same."""
    cron: str = "0 3 * * mon"
    """Minute, hour, day, month, weekday (by name), in UTC. At most one run an ISO week."""
    poll_seconds: float = Field(default=10, gt=0)
    """How often the scheduler looks whether a slot is due or a run was left behind."""
    rollout_seconds: float = Field(default=30, gt=0)
    """How often rollouts are looked at: each look reads the log of the canary or watch."""
    catch_up_days: float = Field(default=7, gt=0, le=366)
    """A slot missed for longer than this is not made up for."""
    minimum_pairs: int = Field(default=100, ge=1)
    """Fewer pairs than this, and the run ends `skipped`."""
    max_pairs: int = Field(default=20_000, ge=1)
    """More pairs than this, and a seeded sample is drawn."""
    max_window_days: int = Field(default=56, ge=1)
    """Older feedback, and older questions of held-out users, are not looked at."""
    lease_seconds: float = Field(default=30, gt=0)
    """A run whose owner has not shown itself for so long is taken over; looked at every
    `poll_seconds`, so within lease plus twice poll of its owner's last sign at the latest."""
    seed: int = Field(default=0, ge=0)
    rollout: Literal["direct", "canary"] = "direct"
    """What follows the gate: live at once, or shadow and canary first (`retrain.canary`)."""
    approval: Literal["auto", "manual"] = "auto"
    """Who has the last word before a version answers everybody."""
    pairs: PairsConfig = PairsConfig()
    trainer: TrainerConfig = TrainerConfig()
    hyper: HyperParameters = HyperParameters()
    judge: JudgeSpec | JudgeEndpoint | None = None
    """An OpenAI-compatible endpoint that knows `response_format` json_schema (`[retrain.judge]`),
    or `module:name` of a function `compare(conversation, a, b)`, async or not: 1 if a is better, 0
    if b is, 0.5 for a tie; asked both ways round, 300 s for each. Without a judge nothing is
    promoted."""
    suite: Path | None = None
    """A TOML or JSON file of assertions that candidate and live must satisfy: `[[cases]]` with
    `name`, `prompt` or `messages`, and any of `contains`, `not_contains`, `regex`, `json_schema`,
    `max_words`."""
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    canary: CanaryConfig = CanaryConfig()

    @property
    def staged(self) -> bool:
        """Whether more than the gate stands between a candidate and all users."""
        return self.rollout == "canary" or self.approval == "manual"

    @field_validator("cron")
    @classmethod
    def _weekday_by_name(cls, cron: str) -> str:
        fields = cron.split()
        if len(fields) != 5:  # noqa: PLR2004 - cron's own number
            raise ValueError("cron takes five fields: minute, hour, day, month, weekday")
        if re.search(r"\d", fields[4]):
            # APScheduler counts weekdays from Monday, cron from Sunday: a number would be misread.
            raise ValueError("name the weekday in cron, such as mon")
        return cron
