"""All settings of the weekly run: `[retrain]` and every section below it, one module a section.

The package imports nothing but pydantic and the standard library's own, so that the command line
and the trainer can read the settings quickly.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from common.settings import CENTURY_DAYS, FunctionSpec, Seconds, Section
from retrain.config.balance import BalanceConfig
from retrain.config.canary import CanaryConfig, OnlineGateConfig
from retrain.config.counterparts import CounterpartsConfig, SelfPlayConfig
from retrain.config.enough import BudgetConfig, EnoughConfig
from retrain.config.evaluation import EvaluationConfig
from retrain.config.gate import GateConfig
from retrain.config.hyper import (
    SMOOTHED_LOSSES,
    HyperParameters,
    LossType,
    ModuleName,
    Optimizer,
)
from retrain.config.judge import DEFAULT_RUBRIC, JudgeEndpoint, ModelEndpoint
from retrain.config.methods.choice import Method, MethodChoice, ignored_settings
from retrain.config.methods.kto import KtoConfig
from retrain.config.methods.orpo import OrpoConfig
from retrain.config.methods.sft import SftConfig
from retrain.config.pairs import PairsConfig
from retrain.config.people import PeopleJudgeConfig
from retrain.config.signals import ReaderEndpoint, SignalsConfig
from retrain.config.synthetic import SyntheticConfig
from retrain.config.trainer import DEFAULT_COMMAND, TrainerConfig
from retrain.config.types import Metrics, Positive, Share, Source
from retrain.cron import check_cron

__all__ = [
    "DEFAULT_COMMAND",
    "DEFAULT_RUBRIC",
    "SMOOTHED_LOSSES",
    "BalanceConfig",
    "BudgetConfig",
    "CanaryConfig",
    "CounterpartsConfig",
    "Cron",
    "EnoughConfig",
    "EvaluationConfig",
    "GateConfig",
    "HyperParameters",
    "JudgeEndpoint",
    "KtoConfig",
    "LossType",
    "Method",
    "MethodChoice",
    "Metrics",
    "ModelEndpoint",
    "ModuleName",
    "OnlineGateConfig",
    "Optimizer",
    "OrpoConfig",
    "PairsConfig",
    "PeopleJudgeConfig",
    "Positive",
    "ReaderEndpoint",
    "RetrainConfig",
    "SelfPlayConfig",
    "SftConfig",
    "Share",
    "SignalsConfig",
    "Source",
    "SyntheticConfig",
    "TrainerConfig",
]

Cron = Annotated[str, AfterValidator(check_cron)]

WEEK_HOURS = 168


class RetrainConfig(Section):
    """The weekly run."""

    enabled: bool = True
    """Whether the scheduler starts runs. Runs can always be started manually."""
    cron: Cron = "0 3 * * mon"
    """When runs start: minute, hour, day, month, weekday (by name), in UTC. At most one scheduled
    run per ISO week."""
    when: Literal["weekly", "enough"] = "weekly"
    """`weekly`: one run a week, at `cron`. `enough`: also as soon as there is enough fresh feedback
    (`retrain.enough`); `cron` is then the latest start."""
    enough: EnoughConfig = EnoughConfig()
    poll_seconds: Seconds = Field(default=10, gt=0)
    """Seconds between two checks whether a run is due or an interrupted one must be resumed."""
    rollout_seconds: Seconds = Field(default=30, gt=0)
    """Seconds between two evaluations of a rollout. Each reads the log of the canary or watch."""
    catch_up_days: float = Field(default=7, gt=0, le=366)
    """Days for which a missed run is still started late; after that it is skipped."""
    method: MethodChoice = "auto"
    """How the model learns. `dpo`: from pairs. `kto`: from answers judged by themselves. `orpo`:
    from pairs, without a reference. `sft`: from demonstrations. `auto`: `sft` where there are
    enough demonstrations, then `dpo` where there are enough pairs, and `kto` where most judged
    answers are in no pair and no judge finds a counterpart for them; `pawl retrain --dry-run`
    prints the choice and its reasons. A setting that the method would ignore is refused."""
    minimum_pairs: int = Field(default=100, ge=1)
    """Least number of pairs for `dpo` and `orpo`. If there is too little for every method, the run
    ends as `skipped`."""
    minimum_labels: int = Field(default=100, ge=2)
    """Least number of answers judged by themselves for `kto`; both good and bad ones are needed."""
    minimum_demonstrations: int = Field(default=100, ge=1)
    """Least number of demonstrations for `sft`. In smaller numbers they still count as pairs."""
    replay_share: Share = Field(default=0.1, lt=1)
    """Share of the pairs trained on that are taken from earlier weeks, so that a week does not
    make the model forget the one before: a random sample of the pairs that live and its ancestors
    were trained on, as far as this machine keeps them."""
    max_pairs: int = Field(default=20_000, ge=1)
    """Most pairs to train on; from more than that a random sample is drawn with `seed`."""
    max_labels: int = Field(default=20_000, ge=0)
    """Most labels (judged answers that are in no pair) to freeze for training and for finding
    counterparts; from more than that a random sample is drawn with `seed`. 0 means none."""
    max_window_days: int = Field(default=56, ge=1, le=CENTURY_DAYS)
    """Age in days up to which feedback and questions of held-out users are used."""
    lease_seconds: Seconds = Field(default=30, gt=0)
    """Seconds after which a run whose owner has not renewed its lease is taken over by another
    server. Leases are checked every `poll_seconds`, so this happens at most lease plus twice poll
    after the last renewal."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of sampling and training."""
    rollout: Literal["direct", "canary"] = "direct"
    """What happens after the offline gate: promotion at once, or shadow and canary stages first
    (`retrain.canary`)."""
    approval: Literal["auto", "manual"] = "auto"
    """`manual`: an administrator must approve a version before it serves all users."""
    pairs: PairsConfig = PairsConfig()
    balance: BalanceConfig = BalanceConfig()
    signals: SignalsConfig = SignalsConfig()
    counterparts: CounterpartsConfig = CounterpartsConfig()
    self_play: SelfPlayConfig = SelfPlayConfig()
    synthetic: SyntheticConfig = SyntheticConfig()
    trainer: TrainerConfig = TrainerConfig()
    hyper: HyperParameters = HyperParameters()
    kto: KtoConfig = KtoConfig()
    orpo: OrpoConfig = OrpoConfig()
    sft: SftConfig = SftConfig()
    judge: Literal["people", "none"] | FunctionSpec | JudgeEndpoint | None = None
    """What compares the answers. Either an OpenAI-compatible endpoint that supports
    `response_format` json_schema (`[retrain.judge]`), or `module:name` of a function
    `compare(conversation, a, b)`, async or not, that returns 1 if a is better, 0 if b is, 0.5 for a
    tie. It is called with the answers in both orders and has 300 seconds per call. Tool calls are
    lines of an answer's text (`[tool call] "price" {"of": "rose"}`); a judge with a method
    `compare_answers(question, a, b)` gets them separately. Or `people`: a reward model that each
    run trains on what people said (`[retrain.people_judge]`). Or `none`: only the users of a canary
    decide, which needs `rollout = "canary"`. Without any of these nothing is promoted."""
    people_judge: PeopleJudgeConfig = PeopleJudgeConfig()
    suite: Path | None = None
    """A TOML or JSON file of assertions that candidate and live are checked against: `[[cases]]`
    with `name`, `prompt` or `messages`, and any of `contains`, `not_contains`, `regex`,
    `json_schema`, `max_words`, and `calls` with the `tools` that may be called."""
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    canary: CanaryConfig = CanaryConfig()
    budget: BudgetConfig = BudgetConfig()

    @model_validator(mode="after")
    def _judge_can_read(self) -> Self:
        if self.signals.reader == "judge" and not isinstance(self.judge, JudgeEndpoint):
            raise ValueError(
                'signals.reader = "judge" needs an endpoint in [retrain.judge]: '
                "set one, or name another reader"
            )
        return self

    @model_validator(mode="after")
    def _users_or_a_week_between(self) -> Self:
        if self.when == "enough" and not self.staged and self.enough.hours < WEEK_HOURS:
            raise ValueError(
                'when = "enough" starts at most one run a week where the same held-out users are '
                'asked each time and nobody else decides: set rollout = "canary", '
                f'approval = "manual" or enough.hours = {WEEK_HOURS:g}'
            )
        return self

    @model_validator(mode="after")
    def _method_reads_what_is_set(self) -> Self:
        if ignored := ignored_settings(self, self.method):
            raise ValueError(
                f'method = "{self.method}" would ignore {", ".join(ignored)}: '
                "leave out what it does not use, or choose another method"
            )
        if self.method == "kto" and self.hyper.per_device_batch == 1:
            raise ValueError(
                "kto compares the answers of a batch: raise hyper.per_device_batch to 2 or more"
            )
        return self

    @property
    def staged(self) -> bool:
        """Whether a candidate that passes the gate needs a canary or an approval as well."""
        return self.rollout == "canary" or self.approval == "manual"

    @property
    def users_may_decide(self) -> bool:
        """Whether the users of a canary decide alone where no judge gates."""
        return self.rollout == "canary" and self.judge is not None

    def budgeted(self, *, judged: bool) -> bool:
        """Return whether a promotion takes its alpha from the yearly budget.

        Nothing is taken where a person promotes. `judged` is whether the offline gate rests on a
        judge that agrees with people.
        """
        unjudged = not judged or self.judge == "none"
        limited = self.when == "enough" or self.budget.weekly or unjudged
        return limited and self.approval == "auto"
