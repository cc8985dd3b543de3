"""All settings of the weekly run: `[retrain]` and every section below it.

This module imports nothing but pydantic and the standard library's own, so that the command line
and the trainer can read the settings quickly.
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
"""The trainer of the installation that runs the server."""
DEFAULT_RUBRIC = """\
The better answer is the one that helps the user more: correct first, then complete, clear and \
polite. Length is no merit: of two answers that say the same, neither is better for being longer."""


class PairsConfig(Section):
    """How judgements become training pairs."""

    model_config = ConfigDict(frozen=True)

    events_per_rater: int = Field(default=25, ge=1)
    """Judgements per rater and ISO week that are used; later ones are ignored. Without a limit one
    busy rater could decide what the model learns."""
    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of users whose data is never trained on: the evaluation asks their questions."""
    thumb_pairs_per_conversation: int = Field(default=2, ge=0)
    """Pairs built from thumbs up and thumbs down in one conversation, at most. Such pairs are the
    weakest signal, because different users may have judged the two answers. 0 disables them."""
    rating_margin: int = Field(default=2, ge=1, le=4)
    """Least difference of two ratings (1 to 5) by the same rater that makes a pair. A smaller one
    is mostly noise."""
    sources: frozenset[Source] = frozenset({"HUMAN", "LLM_JUDGE", "CODE"})
    """Sources whose judgements are trained on."""


class TrainerConfig(Section):
    """How the trainer is started."""

    model_config = ConfigDict(frozen=True)

    command: tuple[str, ...] = Field(default=DEFAULT_COMMAND, min_length=1)
    """Command that starts the trainer; the path of the job file is appended. The trainer runs as
    one process (`accelerate launch --num_processes 1 -m retrain.trainer`) on GPU 0. To use another
    GPU: `["env", "CUDA_VISIBLE_DEVICES=1", "/opt/pawl/.venv/bin/python", "-m",
    "retrain.trainer"]`."""
    descendant: bool = True
    """Whether the command starts the trainer as a descendant process of the server, so that it is
    killed when the server dies. Set it to false if the command runs the trainer in a container or
    on another machine."""
    terminate_seconds: Seconds = Field(default=10, gt=0)
    """Seconds between SIGTERM and SIGKILL when a trainer is stopped. Nothing is saved on SIGTERM,
    so ten seconds are ample."""
    learning_rate_first: float | None = Field(default=None, gt=0)
    """Learning rate for a new adapter (no warm start). None: `hyper.learning_rate`."""
    tensorboard: bool = True
    """Whether the trainer writes TensorBoard logs into the run's folder."""


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
"""The losses of TRL 1.16's `DPOConfig.loss_type`, except `aot` and `aot_unpaired`: those sort
scores across the batch, so a single pair has no loss that its weight could scale."""


SMOOTHED_LOSSES = frozenset({"robust", "exo_pair"})
"""The losses for which TRL uses `label_smoothing`; it silently ignores it for all others."""


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
"""The optimizers of transformers (`OptimizerNames`) that need only torch and bitsandbytes."""


def _module_name(name: str) -> str:
    if not name.strip():
        raise ValueError("name a linear module, such as q_proj")
    return name


ModuleName = Annotated[str, AfterValidator(_module_name)]


class HyperParameters(Section):
    """Hyper-parameters of DPO (arXiv:2305.18290) with LoRA (arXiv:2106.09685).

    The defaults suit a 7-8B model on one GPU. Names and values are those of TRL's `DPOConfig` and
    PEFT's `LoraConfig` unless stated otherwise.
    """

    model_config = ConfigDict(frozen=True)

    lora_rank: Positive = 16
    """Rank of a new adapter. A warm start keeps the rank of the live adapter."""
    lora_alpha: Positive = 32
    """Scale of a new adapter: its update is multiplied by `lora_alpha / lora_rank`."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input, a probability. Needs `precompute_ref_log_probs`."""
    lora_target_modules: Literal["all-linear"] | list[ModuleName] = Field(
        default="all-linear", min_length=1
    )
    """Modules of a new adapter: a list of names such as `["q_proj", "v_proj"]`, or `all-linear`:
    every linear module of the language model that the engine serves, without experts."""

    loss_type: list[LossType] = Field(default=["sigmoid", "sft"], min_length=1)
    """Losses that are added up. Without the `sft` term (negative log-likelihood of the chosen
    answer) the likelihood of both answers may fall, and small models drift."""
    loss_weights: list[float] = Field(default=[1.0, 0.2])
    """One weight per entry of `loss_type`. The default is that of Llama 3 (arXiv:2407.21783)."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference: a larger value keeps the model closer to it."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of pairs whose label is wrong. Only for `robust` and `exo_pair`."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate; 5e-6 to 5e-5 suits 7-8B models."""
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    """Learning rate schedule (transformers' `lr_scheduler_type`)."""
    warmup_steps: int = Field(default=3, ge=0)
    """Optimizer steps in which the learning rate rises to its peak. A run has few steps, so only
    the first ones, in which Adam's estimates are poor, are damped."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay. 0, because it would pull the adapter towards the base model every week."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient; larger gradients are scaled down to it."""
    optimizer: Optimizer = "auto"
    """Optimizer, by its name in transformers. `auto`: `paged_adamw_8bit` on CUDA, which saves
    memory, else `adamw_torch`."""

    per_device_batch: Positive = 4
    """Pairs per forward pass. It is halved once if memory runs out."""
    gradient_accumulation: Positive = 8
    """Forward passes per optimizer step: a step learns from `per_device_batch` times this many
    pairs."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the pairs. More than one tends to overfit a week's feedback."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimizer steps after which training stops, even before `epochs` are over. None: no limit."""
    max_length: int = Field(default=4096, gt=1)
    """Tokens of a prompt and its longer answer, at most. Longer pairs are dropped and counted,
    never cut."""

    quantization: Literal["none", "nf4"] = "none"
    """`nf4` loads the base model in four bits (QLoRA, arXiv:2305.14314), which needs about a
    quarter of the memory and is slower."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Floating-point type of the base model. `auto`: bf16 on a GPU that supports it, else fp32."""
    gradient_checkpointing: bool | None = None
    """Whether activations are recomputed in the backward pass, which saves memory and costs time.
    None: on the GPU only."""
    precompute_ref_log_probs: bool = True
    """Whether the reference's log-probabilities are computed once, before training, instead of in
    every step. This saves a forward pass per step."""
    threads: Positive | None = None
    """CPU threads of the trainer. None: PyTorch's default."""
    logging_steps: Positive = 1
    """Optimizer steps per point of the training curve."""

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
    """URL of the API, without `/chat/completions`."""
    model: str = Field(min_length=1)
    """Name of the model at that endpoint."""
    api_key: SecretStr | None = None
    """Sent as a bearer token. None: no `Authorization` header."""
    rubric: str = Field(default=DEFAULT_RUBRIC, min_length=1)
    """What makes an answer better; part of the judge's system prompt."""
    attempts: int = Field(default=4, ge=1)
    """Requests per verdict, at most. Overload and malformed replies are retried."""
    timeout: Seconds = Field(default=60.0, gt=0)
    """Seconds one request may take."""

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
    """Chat requests of the evaluation in flight, at most. Low, because they share the engine with
    users."""
    judge_concurrency: int = Field(default=8, ge=1)
    """Prompts judged concurrently, at most."""
    attempts: int = Field(default=3, ge=1)
    """Attempts per chat request before its prompt is counted as failed."""
    first_pause: Seconds = Field(default=0.5, ge=0)
    """Seconds before the second attempt. The pause doubles with each further attempt."""
    max_failed_share: float = Field(default=0.05, ge=0, lt=1)
    """Largest share of prompts that may fail. If more fail, the run fails, since the remaining
    prompts may not be representative."""
    harms: dict[str, FunctionSpec] = Field(default={})
    """Harm metrics: name to `module:function(conversation, answer)`, which returns 0 (harmless) to
    1 (harmful) within 30 seconds per answer."""


class GateConfig(Section):
    """What a candidate must show before promotion. Read once, before the evaluation starts."""

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Significance level of the sign test: the largest accepted probability of promoting a
    candidate that is no better than live."""
    comparisons: int = Field(default=400, ge=1)
    """Held-out questions that both versions answer. With 400 decisive ones a
    true win rate of 59 % is detected nine times in ten."""
    minimum: int = Field(default=380, ge=1)
    """Least number of compared questions for a promotion."""
    adjust_for_length: bool = True
    """Whether the candidate must also win once the length of its answers is allowed for. Judges
    tend to prefer longer answers."""
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


class OnlineGateConfig(Section):
    """What a canary must show before promotion. Read once, before the canary starts."""

    model_config = ConfigDict(frozen=True)

    alpha_promote: float = Field(default=0.02, gt=0, lt=0.5)
    """Largest probability of promoting a canary that is no better, over both vote streams."""
    alpha_roll_back: float = Field(default=0.10, gt=0, lt=0.5)
    """Largest probability of rolling back a canary that is no worse, over both vote streams. Higher
    than `alpha_promote`, because a false rollback only costs a week."""
    alpha_guardrail: float = Field(default=0.01, gt=0, lt=0.5)
    """False alarm probability of each guardrail, and of the test whether voting depends on the
    arm."""
    rated_users: int = Field(default=200, ge=1)
    """Minimum sample size: rated users before quality decides anything."""
    longest_days: Days = Field(default=14, gt=0)
    """Days after which a canary without a decision is rolled back."""
    margin: float | None = Field(default=None, gt=0, lt=0.5)
    """Non-inferiority margin: also promote a canary that is shown to be worse by less than this
    difference in mean votes. None: promote only what is shown to be better."""
    alpha_margin: float = Field(default=0.02, gt=0, lt=0.5)
    """Largest probability of promoting a canary that is worse by `margin` or more."""


class CanaryConfig(Section):
    """The stages of a rollout, where `rollout = "canary"`: shadow, canary, watch."""

    model_config = ConfigDict(frozen=True)

    shadow_share: float = Field(default=0.1, ge=0, le=1)
    """Share of requests that the candidate also answers, without users seeing it."""
    shadow_answers: int = Field(default=200, ge=0)
    """Shadow answers required before the canary stage starts; 0 skips the shadow stage."""
    shadow_failures: float = Field(default=0.02, ge=0, le=1)
    """Largest accepted share of failed shadow answers; a higher one ends the rollout."""
    shadow_hours: float = Field(default=24, gt=0, le=24 * CENTURY_DAYS)
    """Hours after which the shadow stage ends, even with fewer than `shadow_answers`."""
    first_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of users who get the canary at first. Small, to limit the damage of a bad version."""
    first_requests: int = Field(default=1_700, ge=0)
    """Canary requests after which the share rises from `first_share` to `share`; 0 starts with
    `share`. In simulation, an error rate that rises from 0.2 % to 1 % raises the alarm after a
    median of 650 canary requests at a 5 % share."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Share of users who get the canary after that. 0.5 decides soonest: the evidence grows with
    share times (1 - share)."""
    watch_days: Days = Field(default=7, ge=0)
    """Days for which a promoted version is compared with its predecessor; 0 disables the watch."""
    holdback_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of users who keep the previous version during the watch."""
    votes: Metrics = Field(default=Metrics({"thumbs", "rating"}), min_length=1)
    """Metrics that count as votes: yes or no, or 1 to 5."""
    gate: OnlineGateConfig = OnlineGateConfig()


class RetrainConfig(Section):
    """The weekly run."""

    enabled: bool = True
    """Whether the scheduler starts runs. Runs can always be started manually."""
    cron: Cron = "0 3 * * mon"
    """When runs start: minute, hour, day, month, weekday (by name), in UTC. At most one scheduled
    run per ISO week."""
    poll_seconds: Seconds = Field(default=10, gt=0)
    """Seconds between two checks whether a run is due or an interrupted one must be resumed."""
    rollout_seconds: Seconds = Field(default=30, gt=0)
    """Seconds between two evaluations of a rollout. Each reads the log of the canary or watch."""
    catch_up_days: float = Field(default=7, gt=0, le=366)
    """Days for which a missed run is still started late; after that it is skipped."""
    minimum_pairs: int = Field(default=100, ge=1)
    """Least number of pairs to train on; with fewer the run ends as `skipped`."""
    max_pairs: int = Field(default=20_000, ge=1)
    """Most pairs to train on; from more than that a random sample is drawn with `seed`."""
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
    trainer: TrainerConfig = TrainerConfig()
    hyper: HyperParameters = HyperParameters()
    judge: FunctionSpec | JudgeEndpoint | None = None
    """What compares the answers. Either an OpenAI-compatible endpoint that supports
    `response_format` json_schema (`[retrain.judge]`), or `module:name` of a function
    `compare(conversation, a, b)`, async or not, that returns 1 if a is better, 0 if b is, 0.5 for a
    tie. It is called with the answers in both orders and has 300 seconds per call. Tool calls are
    lines of an answer's text (`[tool call] "price" {"of": "rose"}`); a judge with a method
    `compare_answers(question, a, b)` gets them separately. Without a judge nothing is promoted."""
    suite: Path | None = None
    """A TOML or JSON file of assertions that candidate and live are checked against: `[[cases]]`
    with `name`, `prompt` or `messages`, and any of `contains`, `not_contains`, `regex`,
    `json_schema`, `max_words`, and `calls` with the `tools` that may be called."""
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    canary: CanaryConfig = CanaryConfig()

    @property
    def staged(self) -> bool:
        """Whether a candidate that passes the gate needs a canary or an approval as well."""
        return self.rollout == "canary" or self.approval == "manual"
