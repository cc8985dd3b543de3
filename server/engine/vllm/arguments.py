"""The engine's settings as vLLM's command line takes them."""

from argparse import Namespace
from collections.abc import Collection, MutableMapping
from pathlib import Path

from server.engine.config import EngineConfig
from server.engine.errors import EngineStartError
from server.engine.vllm.plugin import require_plugin

_GIB = 1024**3
_FORBIDDEN = (
    "trust_request_chat_template",  # a client's Jinja would run here
    "trust_request_mm_kwargs",
    "enable_log_requests",  # prompts and answers would stand in the logs
    "enable_log_outputs",
    "lora_modules",  # adapters come through the registry, vetted
    "headless",
    "disable_log_stats",  # the alarm on answers without finite logits reads them
)


def prepare_environment(environment: MutableMapping[str, str], *, cpu: bool) -> None:
    """Set the variables that vLLM reads when it starts.

    Raises `EngineStartError` when the engine would outlive this process (`plugin`).
    """
    environment.setdefault("VLLM_NO_USAGE_STATS", "1")
    # Both would let a request name what no registry has vetted.
    environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "0"
    environment["VLLM_SKIP_MODEL_NAME_VALIDATION"] = "0"
    # Told of each answer, so that the version at fault is known: see `server.engine.nan_alarm`.
    environment["VLLM_COMPUTE_NANS_IN_LOGITS"] = "1"
    if cpu:
        # vLLM compiles nothing of a model with LoRA on a CPU, but a helper of its logprobs: 15 s of
        # C++ compilation that would stall every stream at the first request for logprobs.
        environment.setdefault("TORCHDYNAMO_DISABLE", "1")
    require_plugin(environment)


def require_generation(model: str, tasks: Collection[str]) -> None:
    """Raises `EngineStartError` for a model that embeds or ranks and writes no text."""
    if "generate" not in tasks:
        raise EngineStartError(f"{served_name(model)} does not generate text: name a chat model.")


def refuse_unsafe(arguments: Namespace) -> None:
    """Raises `EngineStartError` when `extra_args` switched on what this server must not do."""
    for name in _FORBIDDEN:
        if getattr(arguments, name, None):
            flag = "--" + name.replace("_", "-")
            raise EngineStartError(f"engine.extra_args: take {flag} out; it is not safe here.")


def served_name(model: str) -> str:
    """The base model's name in vLLM's metrics: a hub id as it is, a folder by its last part."""
    return Path(model).name if Path(model).is_dir() else model


def vllm_arguments(config: EngineConfig, *, cpu: bool) -> list[str]:
    """The arguments for `config`; `extra_args` come last, so they win."""
    arguments = [
        *("--model", config.model),
        *("--served-model-name", served_name(config.model)),
        *("--dtype", config.dtype),
        *("--scheduling-policy", "priority"),
        *("--max-num-queued-reqs", str(config.max_queued_requests)),
        *("--generation-config", "vllm" if config.generation_defaults == "neutral" else "auto"),
        *("--enable-lora", "--enable-prompt-tokens-details"),
        *("--max-loras", str(config.adapter_slots)),
        *("--max-cpu-loras", str(config.adapter_slots)),
        *("--max-lora-rank", str(config.max_lora_rank)),
    ]
    return arguments + _optional(config) + _device(config, cpu=cpu) + config.extra_args


def _optional(config: EngineConfig) -> list[str]:
    arguments: list[str] = []
    if config.max_model_len is not None:
        arguments += ["--max-model-len", str(config.max_model_len)]
    if config.tool_call_parser is not None:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", config.tool_call_parser]
    if config.reasoning_parser is not None:
        arguments += ["--reasoning-parser", config.reasoning_parser]
    if config.chat_template is not None:
        arguments += ["--chat-template", config.chat_template]
    return arguments


def _device(config: EngineConfig, *, cpu: bool) -> list[str]:
    eager = cpu if config.enforce_eager is None else config.enforce_eager
    arguments = ["--enforce-eager"] if eager else []
    if cpu:
        arguments += ["--kv-cache-memory-bytes", str(int(config.kv_cache_gib * _GIB))]
    elif config.gpu_memory_utilization is not None:
        arguments += ["--gpu-memory-utilization", str(config.gpu_memory_utilization)]
    return arguments
