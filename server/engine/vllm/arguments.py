"""Translates the engine's settings to vLLM's command line and environment."""

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
"""The library that compiles schemas and patterns. With vLLM's `auto`, the first such request
chooses it for all later ones (`vllm.v1.structured_output`); the bounds of the settings are measured
with this one."""
_MESSAGE_CHARS_MAX = 600
"""Characters of vLLM's error message that are shown."""
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
    "enable_log_requests",  # would write prompts and answers to the logs
    "enable_log_outputs",
    "lora_modules",  # adapters must come through the registry, which vets them
    "headless",
    "disable_log_stats",  # `nan_alarm` needs the statistics
)


def prepare_environment(environment: MutableMapping[str, str], *, cpu: bool) -> None:
    """Set the variables that vLLM reads when it starts.

    Raises `EngineStartError` if vLLM would not load Pawl's plug-in (`plugin`), without which its
    processes would outlive this one.
    """
    environment.setdefault("VLLM_NO_USAGE_STATS", "1")
    # Either would let a request name an adapter that the registry has not vetted.
    environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "0"
    environment["VLLM_SKIP_MODEL_NAME_VALIDATION"] = "0"
    # vLLM then reports NaN for each answer, which `server.engine.nan_alarm` needs.
    environment["VLLM_COMPUTE_NANS_IN_LOGITS"] = "1"
    if cpu:
        # On a CPU, vLLM (0.32) compiles nothing of a model with LoRA except a helper of
        # `vllm.v1.sample.ops.logprobs`. That takes 15 s of C++ compilation, which would stall every
        # stream at the first request for logprobs. May go once vLLM compiles it at startup.
        environment.setdefault("TORCHDYNAMO_DISABLE", "1")
    require_plugin(environment)


def require_generation(model: str, tasks: Collection[str]) -> None:
    """Raise `EngineStartError` for a model that does not generate text, such as an embedder."""
    if "generate" not in tasks:
        raise EngineStartError(f"{served_name(model)} does not generate text: name a chat model.")


def require_adapters(model: str, *, cpu: bool) -> None:
    """Raise `EngineStartError` for a model family on which vLLM cannot serve adapters.

    vLLM itself reports this only in its engine's log, or (experts on a CPU) dies at the first
    request. A hub id that was never downloaded passes, since its family is not known yet.
    """
    folder = stored_model(model)
    family = read_family(folder) if folder is not None else None
    reason = family and family.why_not_served(cpu=cpu)
    if reason is not None:
        raise EngineStartError(f"engine.model: {reason}.")


def refuse_unsafe(arguments: Namespace) -> None:
    """Raise `EngineStartError` if `extra_args` switch on something unsafe on this server."""
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
    """Raise `EngineStartError` for arguments that name the model or are not settings.

    The model must be `engine.model`, on which adapters, fingerprints and training depend. With
    --help or --version vLLM would exit, and with --config a file could set any other argument.
    """
    for argument in extra_args:
        flag = argument.partition("=")[0]
        if flag in _NO_SETTINGS:
            raise EngineStartError(f"engine.extra_args: take {flag} out; {_NO_SETTINGS[flag]}")


@contextmanager
def naming_the_setting(config: EngineConfig, setting: str | None = None) -> Iterator[None]:
    """Turn any error of vLLM about settings into an `EngineStartError` that names a setting.

    vLLM raises errors of many classes (pydantic's, the hub's, `SystemExit`) for a model that cannot
    be found or read, a value out of range, or an unknown parser.

    Args:
        config: The settings.
        setting: The setting to name. With None it is derived from vLLM's message.

    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, MemoryError | EngineStartError):
            raise
        message = _message_of(error)
        named = setting or _setting(message, config)
        raise EngineStartError(f"{named}: vLLM says: {message}") from error


def _setting(message: str, config: EngineConfig) -> str:
    """Return the setting whose name is in vLLM's message, or a guess if none is."""
    words = set(re.findall(r"[a-z]\w*", message.replace("-", "_")))
    given = {argument.partition("=")[0].removeprefix("--") for argument in config.extra_args}
    if words & {flag.replace("-", "_") for flag in given if flag}:
        return "engine.extra_args"
    named = [name for name in EngineConfig.model_fields if name in words - {"model", "kind"}]
    if named:
        return f"engine.{named[0]}"
    return "engine.extra_args" if "unrecognized" in words else "engine.model"


def _message_of(error: BaseException) -> str:
    """Return an error's message in one line; for pydantic, the message of each problem."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_input=False)
        return "; ".join(
            " ".join((*map(str, problem["loc"]), str(problem["msg"]))) for problem in problems
        )
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MESSAGE_CHARS_MAX else f"{text[:_MESSAGE_CHARS_MAX]} …"


def served_name(model: str) -> str:
    """Return the base model's name in vLLM's metrics: a hub id, or a folder's last part."""
    return Path(model).name if Path(model).is_dir() else model


def vllm_arguments(config: EngineConfig, *, cpu: bool) -> list[str]:
    """Return vLLM's arguments for `config`; `extra_args` come last, so they win."""
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
