"""`[retrain.hyper]`: hyper-parameters of training."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from common.settings import Section
from retrain.config.types import Positive

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
