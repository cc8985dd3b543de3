"""The section `engine` of the settings."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from common.settings import Seconds, Section


def _from_text(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdigit() else value


LoraRank = Annotated[Literal[8, 16, 32, 64, 128, 256, 512], BeforeValidator(_from_text)]
"""Ranks that vLLM accepts (`vllm.config.lora.MaxLoRARanks`).

An environment variable gives the number as a string.
"""


class StructuredOutputsConfig(Section):
    """Bounds on the size and compile time of schemas, lists of choices and patterns in requests.

    The engine compiles each of them over its whole vocabulary and cannot stop a compilation. The
    defaults come from measurements with a vocabulary of 131,072 tokens (docs/results.md,
    "Grammars"): what they allow compiles in under a second on one core or is stopped.
    """

    model_config = ConfigDict(frozen=True)

    chars: int = Field(default=65_536, gt=0)
    """Maximum characters of all strings in one request's schema or choices."""
    text_chars: int = Field(default=10_000, gt=0)
    """Maximum characters of one string in it (a choice, a constant, a name, a description).
    Compile time grows with the square of a string's length."""
    parts: int = Field(default=4_000, gt=0)
    """Maximum number of values in one schema: objects, lists, strings and numbers."""
    entries: int = Field(default=1_000, gt=0)
    """Maximum entries of one list or object (choices, values of an enum, branches of an anyOf)."""
    optional_properties: int = Field(default=200, gt=0)
    """Maximum properties of one object that are not in its `required`. Compile time grows with
    the square of their number."""
    depth: int = Field(default=32, gt=0)
    """Maximum nesting of objects and lists."""
    repeats: int = Field(default=4_096, gt=0)
    """Maximum of minLength, maxItems and so on, and maximum number of atoms of a pattern once its
    counted repetitions are written out."""
    pattern_chars: int = Field(default=1_000, gt=0)
    """Maximum characters of one regular expression."""
    pattern_quantifiers: int = Field(default=32, ge=0)
    """Maximum number of `*`, `+`, `?` and `{}` in one regular expression."""
    pattern_depth: int = Field(default=2, ge=0)
    """Maximum nesting of quantifiers (`([a-z]+ )*` has two). Three are so ambiguous that each
    further token takes longer than the one before."""
    raw_grammars: bool = False
    """Whether clients may send `grammar` (EBNF, Lark) and `structural_tag`. Off, because their
    cost cannot be bounded from their text, only by a trial."""
    compile_seconds: Seconds = Field(default=1.0, gt=0)
    """Maximum seconds to compile; what takes longer is refused. A separate process compiles it
    first and is stopped at the limit, before the engine gets it. The time is processor time
    divided by the cores that a compilation can use, so that other load does not make a schema
    fail."""
    step_seconds: Seconds = Field(default=0.05, gt=0)
    """Maximum seconds to compute the allowed tokens of one step; what takes longer is refused.
    All other answers wait while the engine computes them."""


class EngineConfig(Section):
    """Which engine runs, on which model, with how much memory."""

    kind: Literal["vllm", "fake"] = "vllm"
    """The engine: vLLM, or `fake`, which answers at once with made-up text, for trying the API and
    for tests."""
    model: str = ""
    """The base model: a folder or a hub id of any chat model that vLLM serves."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Maximum tokens of prompt and answer together; None takes the model's own maximum."""
    dtype: str = "auto"
    """The type of the model's weights and computation, as vLLM's `--dtype`. `auto` takes the type
    in the model's config, except that a CPU without instructions for bfloat16 (AVX512-BF16, AMX,
    Arm's BF16) takes `float32` if the weights then fit into half of the memory: it is faster
    there. `pawl doctor` shows the choice; name `bfloat16` to keep that type."""
    adapter_slots: int = Field(default=8, ge=4, le=64)
    """Maximum number of adapters loaded at once. The minimum is four: live, incoming, canary and
    shadow."""
    max_lora_rank: LoraRank = 64
    """Maximum rank of an adapter. vLLM reserves memory for this rank in each slot."""
    max_queued_requests: int = Field(default=512, ge=1)
    """Maximum number of requests that wait or run; a further request gets 503."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of the GPU's memory that vLLM uses; None takes vLLM's default. Ignored on a CPU."""
    kv_cache_gib: float = Field(default=1.0, gt=0)
    """Size of the KV cache in GiB on a CPU. On a GPU, `gpu_memory_utilization` determines it."""
    enforce_eager: bool | None = None
    """Whether to run without CUDA graphs and compilation. None: yes on a CPU, no on a GPU."""
    generation_defaults: Literal["neutral", "model"] = "neutral"
    """Sampling parameters for requests that set none. `neutral` takes OpenAI's: temperature 1 and
    the whole distribution, so that users rate, and training learns from, what the model itself
    samples. `model` takes temperature, top_p and so on from the model's `generation_config.json`.
    The end tokens in that file apply either way."""
    tool_call_parser: str | None = None
    """vLLM's parser for the model's tool calls (`hermes`, `llama3_json`, …). None: clients cannot
    use tools."""
    reasoning_parser: str | None = None
    """vLLM's parser for the model's reasoning (`qwen3`, `deepseek_r1`, …). None: reasoning stays
    part of the answer."""
    chat_template: str | None = None
    """A Jinja file or a template that replaces the model's own. Training must use the same one."""
    hang_seconds: Seconds | None = Field(default=None, gt=0)
    """Seconds without a step, while there are requests, after which the engine is killed and
    restarted. None takes 60 on a GPU and 300 on a CPU. A step reads at most 2,048 tokens of a
    prompt (8,192 on large GPUs; vLLM's `--max-num-batched-tokens`): set several times the duration
    of such a step, and of an adapter's load, on your machine."""
    canary_seconds: Seconds = Field(default=10.0, gt=0)
    """Interval in seconds at which an engine without requests is asked for one token, which is not
    logged. An engine that does not give it within `hang_seconds` is restarted. 10 finds an idle
    engine that hangs soon, at a negligible cost."""
    structured_outputs: StructuredOutputsConfig = StructuredOutputsConfig()
    """Bounds on schemas, choices, patterns and grammars."""
    extra_args: list[str] = Field(default_factory=list)
    """Further arguments for vLLM's command line (`["--tensor-parallel-size", "2"]`)."""
    fake_token_delay_seconds: Seconds = Field(default=0.0, ge=0)
    """Seconds that the fake engine waits before each token."""
