"""The engine's settings as vLLM's command line takes them."""

import re
from argparse import Namespace
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from adapters.vetting.families import read_family
from server.engine.config import EngineConfig
from server.engine.errors import EngineStartError
from server.engine.fingerprint import stored_model
from server.engine.vllm.plugin import require_plugin

_GIB = 1024**3
GRAMMAR_BACKEND = "xgrammar"
"""What compiles schemas and patterns. vLLM's `auto` lets the first such request of anybody choose
for all later ones, and the bounds on them are measured with this one."""
_LONGEST = 600
_NO_SETTINGS = {
    "--model": "engine.model names the model.",
    "--config": "give the arguments themselves.",
    "--help": "it starts no engine.",
    "-h": "it starts no engine.",
    "--version": "it starts no engine.",
    "-v": "it starts no engine.",
}
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


def require_adapters(model: str, *, cpu: bool) -> None:
    """Raises `EngineStartError` for a family that vLLM serves no adapters on.

    vLLM would say so too, but only in its engine's log, or (experts on a CPU) by dying of the first
    request. A hub id that was never fetched is let through: nothing is known of it yet.
    """
    folder = stored_model(model)
    family = read_family(folder) if folder is not None else None
    reason = family and family.why_not_served(cpu=cpu)
    if reason is not None:
        raise EngineStartError(f"engine.model: {reason}.")


def refuse_unsafe(arguments: Namespace) -> None:
    """Raises `EngineStartError` when `extra_args` switched on what this server must not do."""
    for name in _FORBIDDEN:
        if getattr(arguments, name, None):
            flag = "--" + name.replace("_", "-")
            raise EngineStartError(f"engine.extra_args: take {flag} out; it is not safe here.")
    if arguments.structured_outputs_config.backend != GRAMMAR_BACKEND:
        raise EngineStartError(
            "engine.extra_args: take --structured-outputs-config.backend out; requests are bounded"
            f" for {GRAMMAR_BACKEND} only."
        )


def refuse_other_model(extra_args: Sequence[str]) -> None:
    """Raises `EngineStartError` for arguments that a setting has, or that are no settings.

    The model is `engine.model`: adapters, fingerprints and training go by it. vLLM would print its
    help or its version and end, and a file of its own could set any of the others.
    """
    for argument in extra_args:
        flag = argument.partition("=")[0]
        if flag in _NO_SETTINGS:
            raise EngineStartError(f"engine.extra_args: take {flag} out; {_NO_SETTINGS[flag]}")


@contextmanager
def refusing(config: EngineConfig, setting: str | None = None) -> Iterator[None]:
    """Turn whatever vLLM raises about settings into an `EngineStartError` that names one of them.

    Without a `setting` it is the one that vLLM speaks of.

    A model that cannot be found or read, a value out of range, a parser that is not there: vLLM
    raises errors of many classes (pydantic's, the hub's, `SystemExit`) from many places.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, MemoryError | EngineStartError):
            raise
        said = _said(error)
        raise EngineStartError(f"{setting or _setting(said, config)}: vLLM says: {said}") from error


def _setting(said: str, config: EngineConfig) -> str:
    """The setting that a message of vLLM's is about: one whose name is in it, or the rest."""
    words = set(re.findall(r"[a-z]\w*", said.replace("-", "_")))
    given = {argument.partition("=")[0].removeprefix("--") for argument in config.extra_args}
    if words & {flag.replace("-", "_") for flag in given if flag}:
        return "engine.extra_args"
    named = [name for name in EngineConfig.model_fields if name in words - {"model", "kind"}]
    if named:
        return f"engine.{named[0]}"
    return "engine.extra_args" if "unrecognized" in words else "engine.model"


def _said(error: BaseException) -> str:
    """What an error says, in one line; the root cause where that says more."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_input=False)
        return "; ".join(
            " ".join((*map(str, problem["loc"]), str(problem["msg"]))) for problem in problems
        )
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


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
        *("--structured-outputs-config.backend", GRAMMAR_BACKEND),
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
