"""The weekly run's section of the settings, all of it: `[retrain]` and everything below.

Importing it imports no library but pydantic, so that the command line and the trainer may.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from common.settings import CENTURY_DAYS, Days, FunctionSpec, HttpUrl, Seconds, Section
from retrain.cron import check_cron

Source = Literal["HUMAN", "LLM_JUDGE", "CODE"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Metrics = frozenset[str]
Cron = Annotated[str, AfterValidator(check_cron)]

DEFAULT_COMMAND = (sys.executable, "-m", "retrain.trainer")
DEFAULT_RUBRIC = """\
The better answer is the one that helps the user more: correct first, then complete, clear and \
polite. Length is no merit: of two answers that say the same, neither is better for being longer."""


class PairsConfig(Section):
    """How judgements become pairs."""

    model_config = ConfigDict(frozen=True)

    events_per_rater: int = Field(default=25, ge=1)
    """Judgements of one rater that count in an ISO week; the earliest ones."""
    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the users who never train: their questions are the evaluation's."""
    thumb_pairs_per_conversation: int = Field(default=2, ge=0)
    rating_margin: int = Field(default=2, ge=1, le=4)
    """Two ratings by one rater make a pair if they lie this far apart."""
    sources: frozenset[Source] = frozenset({"HUMAN", "LLM_JUDGE", "CODE"})
    """Whose judgements train."""


class TrainerConfig(Section):
    """How the trainer is started."""

    model_config = ConfigDict(frozen=True)

    command: tuple[str, ...] = Field(default=DEFAULT_COMMAND, min_length=1)
    """The job file is appended. One process: `accelerate launch --num_processes 1 -m
    retrain.trainer`. It takes GPU 0; with `["env", "CUDA_VISIBLE_DEVICES=1",
    "/opt/pawl/.venv/bin/python", "-m", "retrain.trainer"]` another."""
    descendant: bool = True
    """Whether that trainer is below the server in the process tree, and so can die with it; false
    where the command has it run in a container or on another machine."""
    terminate_seconds: Seconds = Field(default=10, gt=0)
    """A trainer that is told to stop is killed after so long."""
    learning_rate_first: float | None = Field(default=None, gt=0)
    """For a fresh adapter; None: the same as for a warm start (`hyper.learning_rate`)."""
    tensorboard: bool = True


LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
"""TRL 1.16's DPO losses, without `aot` and `aot_unpaired`: those sort scores across the batch, so a
pair has no loss of its own that its weight could scale."""


SMOOTHED_LOSSES = frozenset({"robust", "exo_pair"})
"""The losses that honour `label_smoothing`; every other one ignores it in silence."""


Optimizer = Literal[
    "auto",
    "adamw_torch",
    "adamw_torch_fused",
    "adafactor",
    "sgd",
    "adagrad",
    "rmsprop",
    "adamw_bnb_8bit",
    "adamw_8bit",
    "ademamix",
    "ademamix_8bit",
    "lion_32bit",
    "lion_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
]
"""transformers' optimizers that need nothing beyond torch and bitsandbytes."""


def _module_name(name: str) -> str:
    if not name.strip():
        raise ValueError("name a linear module, such as q_proj")
    return name


ModuleName = Annotated[str, AfterValidator(_module_name)]


class HyperParameters(Section):
    """Every hyper-parameter of a run; the defaults suit a 7-8B model on one GPU."""

    model_config = ConfigDict(frozen=True)

    lora_rank: Positive = Field(16, description="ignored on a warm start, which keeps live's shape")
    lora_alpha: Positive = 32
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_target_modules: Literal["all-linear"] | list[ModuleName] = Field(
        "all-linear",
        min_length=1,
        description="or a list of names; all-linear: the language model's, without experts",
    )

    loss_type: list[LossType] = Field(
        ["sigmoid", "sft"],
        min_length=1,
        description="added up; without the sft term small models drift",
    )
    loss_weights: list[float] = Field([1.0, 0.2])
    beta: float = Field(0.1, gt=0, description="higher stays closer to the reference")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="assumed share of flipped labels (robust, exo_pair)"
    )

    learning_rate: float = Field(1e-5, gt=0, description="5e-6 to 5e-5 for a real model")
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup_steps: int = Field(3, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    optimizer: Optimizer = Field(
        "auto", description="a transformers name; auto: paged_adamw_8bit on CUDA, else adamw_torch"
    )

    per_device_batch: Positive = 4
    gradient_accumulation: Positive = 8
    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, gt=0, description="stops earlier than `epochs` says")
    max_length: int = Field(4096, gt=1, description="longer pairs are dropped and counted")

    quantization: Literal["none", "nf4"] = Field("none", description="nf4 is QLoRA")
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    gradient_checkpointing: bool | None = Field(None, description="None: on the GPU only")
    precompute_ref_log_probs: bool = True
    threads: Positive | None = Field(None, description="CPU threads; None leaves torch's own")
    logging_steps: Positive = 1

    @model_validator(mode="after")
    def _losses_agree(self) -> Self:
        if len(self.loss_weights) != len(self.loss_type):
            raise ValueError("loss_weights needs one weight for each entry of loss_type")
        ignoring = set(self.loss_type) - SMOOTHED_LOSSES - {"sft"}
        if self.label_smoothing and (ignoring or not SMOOTHED_LOSSES & set(self.loss_type)):
            names = ", ".join(sorted(ignoring or set(self.loss_type)))
            raise ValueError(
                f"label_smoothing is silently ignored by {names}; "
                "use robust or exo_pair, or set it to 0"
            )
        if "exo_pair" in self.loss_type and not self.label_smoothing:
            raise ValueError("exo_pair needs label_smoothing above 0 (its paper takes 1e-3)")
        return self

    @model_validator(mode="after")
    def _lora_is_trainable(self) -> Self:
        if self.lora_dropout and not self.precompute_ref_log_probs:
            raise ValueError(
                "lora_dropout would also drop out the reference; "
                "set precompute_ref_log_probs to true"
            )
        if "lm_head" in self.lora_target_modules:
            raise ValueError("an adapter on lm_head is never trained; leave it out")
        return self


class JudgeEndpoint(Section):
    """A judge model behind an OpenAI-compatible endpoint, for instance `http://host:8000/v1`."""

    base_url: HttpUrl
    model: str = Field(min_length=1)
    api_key: SecretStr | None = None
    rubric: str = Field(default=DEFAULT_RUBRIC, min_length=1)
    attempts: int = Field(default=4, ge=1)
    timeout: Seconds = Field(default=60.0, gt=0)
    """Seconds for one verdict."""

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        text = "" if key is None else key.get_secret_value()
        if not text.isascii() or not text.isprintable():
            raise ValueError("an HTTP header takes printable ASCII only: look for a line break")
        return key


class EvaluationConfig(Section):
    """How the evaluation runs."""

    concurrency: int = Field(default=4, ge=1)
    """Our own chat requests in flight at most."""
    judge_concurrency: int = Field(default=8, ge=1)
    """Prompts that are judged at the same time at most."""
    attempts: int = Field(default=3, ge=1)
    """How often one request is sent before its prompt is left out."""
    first_pause: Seconds = Field(default=0.5, ge=0)
    """Seconds before the second attempt; doubles from there."""
    max_failed_share: float = Field(default=0.05, ge=0, lt=1)
    """More failed prompts than this share, and there is no result."""
    harms: dict[str, FunctionSpec] = Field(default={})
    """Harm metrics: name to `module:function(conversation, answer)`, 0 harmless to 1 harmful, 30 s
    for each answer."""


class GateConfig(Section):
    """What a candidate must show. Everything is fixed before the evaluation starts."""

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """False promotion probability of the sign test: the most that is accepted."""
    comparisons: int = Field(default=400, ge=1)
    """Questions asked of both versions, each counted once."""
    minimum: int = Field(default=380, ge=1)
    """Fewer compared questions than this, and there is no promotion."""
    adjust_for_length: bool = True
    assertion_margin: Share = 0.02
    """The candidate's pass rate may lie below live's by this much."""
    harm_ceilings: dict[str, Share] = Field(default={})
    """Highest accepted rate of each harm metric among the candidate's answers."""
    wrong_call_ceiling: Share = 0.05
    """Highest accepted share of wrong or missing tool calls, of the questions on which live calls
    a tool: the candidate calls none, calls others, or gives arguments that do not fit the tool's
    JSON schema. Two samples of one model differ too: where they do so on more than 5 %, raise
    it."""
    shortest: float = Field(default=0.5, gt=0, le=1)
    """Lowest accepted ratio of mean words, candidate over live."""
    longest: float = Field(default=1.5, ge=1)
    """Highest accepted ratio of mean words, candidate over live."""

    @model_validator(mode="after")
    def _can_promote(self) -> Self:
        if self.minimum > self.comparisons:
            raise ValueError(
                f"minimum ({self.minimum}) is above comparisons ({self.comparisons}), so nothing "
                "could ever be promoted: lower minimum or raise comparisons"
            )
        return self


class OnlineGateConfig(Section):
    """What a canary must show. Everything is fixed before it starts."""

    model_config = ConfigDict(frozen=True)

    alpha_promote: float = Field(default=0.02, gt=0, lt=0.5)
    """False promotion probability, both streams together."""
    alpha_roll_back: float = Field(default=0.10, gt=0, lt=0.5)
    """False rollback probability, both streams together."""
    alpha_guardrail: float = Field(default=0.01, gt=0, lt=0.5)
    """False alarm probability of each guardrail, and of the test that voting differs by arm."""
    rated_users: int = Field(default=200, ge=1)
    """With fewer rated users nothing is decided about quality."""
    longest_days: Days = Field(default=14, gt=0)
    """A canary that has shown nothing by then is rolled back."""
    margin: float | None = Field(default=None, gt=0, lt=0.5)
    """Promote also what is shown to be worse by less than this; None: only what is better."""
    alpha_margin: float = Field(default=0.02, gt=0, lt=0.5)
    """False promotion probability of what is worse by the margin."""


class CanaryConfig(Section):
    """The stages of a rollout, where `rollout = "canary"`: shadow, canary, watch."""

    model_config = ConfigDict(frozen=True)

    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the requests that the candidate answers too, unseen."""
    shadow_answers: int = Field(default=200, ge=0)
    """Shadow answers required before the canary stage starts; 0 skips the shadow stage."""
    shadow_failures: float = Field(default=0.02, ge=0, le=1)
    """A higher share of failed shadow answers ends the rollout."""
    shadow_hours: float = Field(default=24, gt=0, le=24 * CENTURY_DAYS)
    """The shadow ends after so long, however much it has answered."""
    first_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of the users who meet the canary first, until the guardrails have seen enough."""
    first_requests: int = Field(default=1_700, ge=0)
    """Requests of the canary that are enough; 0 begins with `share`."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the users after that. Information goes with share times (1 - share)."""
    watch_days: Days = Field(default=7, ge=0)
    """After the promotion both versions are watched for so long; 0: not at all."""
    holdback_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of the users who stay on the version before while it is watched."""
    votes: Metrics = Field(default=Metrics({"thumbs", "rating"}), min_length=1)
    """Metrics that count as votes: yes or no, or one to five."""
    gate: OnlineGateConfig = OnlineGateConfig()


class RetrainConfig(Section):
    """The weekly run."""

    enabled: bool = True
    """Whether the scheduler starts runs; by hand they can be started all the same."""
    cron: Cron = "0 3 * * mon"
    """Minute, hour, day, month, weekday (by name), in UTC. At most one run an ISO week."""
    poll_seconds: Seconds = Field(default=10, gt=0)
    """How often the scheduler looks whether a slot is due or a run was left behind."""
    rollout_seconds: Seconds = Field(default=30, gt=0)
    """How often rollouts are looked at: each look reads the log of the canary or watch."""
    catch_up_days: float = Field(default=7, gt=0, le=366)
    """A slot missed for longer than this is not made up for."""
    minimum_pairs: int = Field(default=100, ge=1)
    """Fewer pairs than this, and the run ends `skipped`."""
    max_pairs: int = Field(default=20_000, ge=1)
    """More pairs than this, and a seeded sample is drawn."""
    max_window_days: int = Field(default=56, ge=1, le=CENTURY_DAYS)
    """Older feedback, and older questions of held-out users, are not looked at."""
    lease_seconds: Seconds = Field(default=30, gt=0)
    """A run whose owner has not shown itself for so long is taken over; looked at every
    `poll_seconds`, so within lease plus twice poll of its owner's last sign at the latest."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    rollout: Literal["direct", "canary"] = "direct"
    """What follows the gate: live at once, or shadow and canary first (`retrain.canary`)."""
    approval: Literal["auto", "manual"] = "auto"
    """Who has the last word before a version answers everybody."""
    pairs: PairsConfig = PairsConfig()
    trainer: TrainerConfig = TrainerConfig()
    hyper: HyperParameters = HyperParameters()
    judge: FunctionSpec | JudgeEndpoint | None = None
    """An OpenAI-compatible endpoint that knows `response_format` json_schema (`[retrain.judge]`),
    or `module:name` of a function `compare(conversation, a, b)`, async or not: 1 if a is better, 0
    if b is, 0.5 for a tie; asked both ways round, 300 s for each. An answer's tool calls are lines
    of its text (`[tool call] "price" {"of": "rose"}`); a judge with a method
    `compare_answers(question, a, b)` gets them apart. Without a judge nothing is promoted."""
    suite: Path | None = None
    """A TOML or JSON file of assertions that candidate and live must satisfy: `[[cases]]` with
    `name`, `prompt` or `messages`, and any of `contains`, `not_contains`, `regex`, `json_schema`,
    `max_words`, and `calls` with the `tools` that may be called."""
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    canary: CanaryConfig = CanaryConfig()

    @property
    def staged(self) -> bool:
        """Whether more than the gate stands between a candidate and all users."""
        return self.rollout == "canary" or self.approval == "manual"
