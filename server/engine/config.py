"""The engine's section of the settings."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from common.settings import Seconds, Section


def _from_text(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdigit() else value


LoraRank = Annotated[Literal[8, 16, 32, 64, 128, 256, 512], BeforeValidator(_from_text)]
"""The ranks that vLLM allots room for; environment variables are texts."""


class StructuredOutputsConfig(Section):
    """How large a schema, a list of choices or a pattern may be, and how long it may compile.

    The engine compiles each over its whole vocabulary and cannot stop a compilation. The defaults
    come from measurements over kinds with a vocabulary of 131,072 tokens (docs/results.md,
    "Grammars"): what they let through compiles in under a second on one core, or is stopped.
    """

    model_config = ConfigDict(frozen=True)

    chars: int = Field(default=65_536, gt=0)
    """Characters of names and texts in one request's schema or choices."""
    text_chars: int = Field(default=10_000, gt=0)
    """Characters of one text in it (a choice, a constant, a name, a description): a longer one
    takes time with the square of its length."""
    parts: int = Field(default=4_000, gt=0)
    """Values in all: objects, lists, texts and numbers."""
    entries: int = Field(default=1_000, gt=0)
    """Entries of one list or object (choices, values of an enum, branches of an anyOf)."""
    optional_properties: int = Field(default=200, gt=0)
    """Properties of one object that its `required` does not name: they take time with the square
    of their number."""
    depth: int = Field(default=32, gt=0)
    """Objects and lists within each other."""
    repeats: int = Field(default=4_096, gt=0)
    """The largest minLength, maxItems and so on, and how often a pattern's counts may write its
    atoms out."""
    pattern_chars: int = Field(default=1_000, gt=0)
    """Characters of one regular expression."""
    pattern_quantifiers: int = Field(default=32, ge=0)
    """`*`, `+`, `?` and `{}` in one regular expression."""
    pattern_depth: int = Field(default=2, ge=0)
    """Quantifiers within each other (`([a-z]+ )*` has two): three are ambiguous in so many ways
    that each further token takes longer than the one before."""
    raw_grammars: bool = False
    """Takes `grammar` (EBNF, Lark) and `structural_tag` from clients. Their cost cannot be told
    from their text, only tried."""
    compile_seconds: Seconds = Field(default=1.0, gt=0)
    """What takes longer to compile is refused. It is tried in a process of its own, which is
    stopped then, before the engine gets it. Counted is processor time over the cores that a
    compilation can use, so that other load does not make a schema fail."""
    step_seconds: Seconds = Field(default=0.05, gt=0)
    """What takes longer for one token is refused: while the engine works out which tokens may
    follow, nobody else's answer goes on."""


class EngineConfig(Section):
    """Which engine runs, on which model, with how much room."""

    kind: Literal["vllm", "fake"] = "vllm"
    """`fake` answers with made-up text, at once: for trying the API and for tests."""
    model: str = ""
    """A folder or a hub id; any chat model that vLLM serves."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Tokens of prompt and answer together; None takes the model's own."""
    dtype: str = "auto"
    adapter_slots: int = Field(default=8, ge=4, le=64)
    """Adapters resident at once. Four is the least: live, incoming, canary, shadow."""
    max_lora_rank: LoraRank = 64
    max_queued_requests: int = Field(default=512, ge=1)
    """Requests waiting or running; beyond it a request gets 503."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of the GPU's memory; None takes vLLM's default. Not used on a CPU."""
    kv_cache_gib: float = Field(default=1.0, gt=0)
    """KV cache in GiB on a CPU; on a GPU it follows from `gpu_memory_utilization`."""
    enforce_eager: bool | None = None
    """No CUDA graphs and no compilation; None means yes on a CPU, no on a GPU."""
    generation_defaults: Literal["neutral", "model"] = "neutral"
    """Sampling where a request names none. `neutral` is OpenAI's: temperature 1 and the whole
    distribution, so that what is rated is what the model gives and training fits what was sampled;
    `model` takes temperature, top_p and so on from the model's `generation_config.json`. Its end
    tokens count either way."""
    tool_call_parser: str | None = None
    """vLLM's parser for the model's tool calls (`hermes`, `llama3_json`, …); None: no tools."""
    reasoning_parser: str | None = None
    """vLLM's parser for the model's thinking (`qwen3`, `deepseek_r1`, …)."""
    chat_template: str | None = None
    """A Jinja file or a template in place of the model's own. Training must use the same one."""
    hang_seconds: Seconds | None = Field(default=None, gt=0)
    """An engine that has requests and makes no step for so long is killed and started again. None
    takes 60 on a GPU and 300 on a CPU. A step reads at most 2,048 tokens of a prompt (8,192 on
    large GPUs; vLLM's `--max-num-batched-tokens`): allow for several times as long as that takes
    here, and as an adapter's load takes."""
    canary_seconds: Seconds = Field(default=10.0, gt=0)
    """An engine without requests is asked for one token so often, in no log; one that does not
    give it within `hang_seconds` hangs."""
    structured_outputs: StructuredOutputsConfig = StructuredOutputsConfig()
    """Bounds on schemas, choices, patterns and grammars."""
    extra_args: list[str] = Field(default_factory=list)
    """Further arguments for vLLM, as on its command line (`["--tensor-parallel-size", "2"]`)."""
    fake_token_delay_seconds: Seconds = Field(default=0.0, ge=0)
    """The fake engine's pace."""
