"""Starts vLLM and answers requests with its own OpenAI serving layer.

Tools, structured output, logprobs and parsers are therefore vLLM's own. A subclass of its engine
client records the token ids that were fed and sampled. Written against vLLM 0.32; a newer version
may have moved the names imported here.
"""

import asyncio
import logging
import os
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NoReturn, TypeAlias
from uuid import uuid4

import structlog
import vllm.plugins
from pydantic import ValidationError
from vllm import envs
from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest, UnloadLoRAAdapterRequest
from vllm.exceptions import VLLMError
from vllm.inputs import tokens_input
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.parser.parser_manager import ParserManager
from vllm.platforms import current_platform
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.hf import HfRenderer, resolve_chat_template
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import SamplingParams
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.gc_utils import freeze_gc_heap
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor import Executor

from adapters.names import BASE
from server.engine.adapter_slots import AdapterSlots
from server.engine.base import Endpoint, EngineCall, EngineInfo, EngineResponse, FloatName
from server.engine.config import EngineConfig, StructuredOutputsConfig
from server.engine.dtype import dtype_for
from server.engine.error_body import ERROR_PREFIX, error_event
from server.engine.errors import (
    AdapterLoadError,
    EngineDeadError,
    EngineStartError,
    NotFiniteError,
    RequestRefusedError,
)
from server.engine.fingerprint import base_folder, model_fingerprint
from server.engine.grammars.gate import GrammarGate
from server.engine.grammars.trials import TrialProcess
from server.engine.limits import CHOICES_MAX, Limits
from server.engine.nan_alarm import NanAlarm
from server.engine.quiet_errors import strip_messages
from server.engine.requests.rules import fields_of, overruled
from server.engine.stream import AnswerStream
from server.engine.vllm.arguments import (
    naming_the_setting,
    prepare_environment,
    refuse_other_model,
    refuse_unsafe,
    require_adapters,
    require_generation,
    vllm_arguments,
)
from server.engine.vllm.compiling import Compiling
from server.engine.vllm.lifetime import Lifetime
from server.engine.vllm.liveness import unless
from server.engine.vllm.refusals import (
    NO_CHAT_TEMPLATE,
    causes_of,
    invalid,
    is_unexplained,
    refusal,
    template_refusal,
    unless_structure,
)
from server.engine.vllm.scratch import Scratch, remove_leftovers, shared_memory_below
from server.engine.vllm.steps import StepCounter
from server.engine.vllm.structures import grammar_of, serialized_tokenizer
from server.engine.vllm.tapping import CurrentCall, current_call, is_not_finite, tapped

log = structlog.get_logger()

_DTYPES: Final[Mapping[str, FloatName]] = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
}
_SHUTDOWN_SECONDS: Final = 10.0
"""Seconds that vLLM's processes have to end before they are killed."""
_PROBE_PRIORITY: Final = -1_000_000
"""Puts a probe ahead of every request; vLLM schedules lower priorities first."""

_Request: TypeAlias = ChatCompletionRequest | CompletionRequest
_Answer: TypeAlias = Any
"""A response model, or an async generator of event strings."""


class TappedLLM(AsyncLLM):
    """vLLM's engine client; records its outputs for the current call in the call's tap."""

    def __init__(self, *args: Any, limits: StructuredOutputsConfig, **kwargs: Any) -> None:
        self.counter = counter = StepCounter()
        self.limits = limits
        super().__init__(*args, stat_loggers=[lambda *_: counter], **kwargs)
        self.trials = TrialProcess(
            lambda: serialized_tokenizer(self.vllm_config, self.get_tokenizer()),
            limits,
            compact=self.vllm_config.structured_outputs_config.disable_any_whitespace,
        )
        self.compiling = Compiling(GrammarGate(self.trials), self.begun)

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **kwargs: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """Generate as vLLM's client does.

        Not an async generator, so that it reads the context of the task that calls it.
        """
        outputs: AsyncGenerator[RequestOutput, None]
        outputs = super().generate(prompt, sampling_params, request_id, **kwargs)
        grammar, current = grammar_of(sampling_params), current_call.get()
        if grammar is not None and current is not None:
            outputs = self.compiling.guarded(outputs, grammar, current, request_id)
        return tapped(outputs)

    def begun(self, request_id: str) -> bool:
        """Return whether a token of the request was sampled."""
        states = self.output_processor.request_states.values()
        return any(one.external_req_id == request_id and not one.is_prefilling for one in states)

    def computing(self) -> bool:
        """Return whether any unfinished request is past the compilation of its grammar.

        A request that waits for its grammar makes no steps even in a healthy engine, so it does not
        count as work. The watchdog then sends a probe to see that the engine moves.
        """
        states = self.output_processor.request_states.values()
        return not all(
            one.is_prefilling and one.external_req_id in self.compiling for one in states
        )

    def __del__(self, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _finalizing():  # at exit vLLM's modules are already gone
            super().__del__()


class LabelledModels(OpenAIServingModels):
    """vLLM's list of models; sets a response's `model` to the label of the current call."""

    def model_name(self, lora_request: LoRARequest | None = None) -> str:
        """Return the current call's label (`pawl@base`), or vLLM's own name outside a call."""
        current = current_call.get()
        return str(super().model_name(lora_request)) if current is None else current.call.model


@dataclass(frozen=True, slots=True)
class _Serving:
    """vLLM's serving layer: its list of models and one object for each endpoint."""

    models: LabelledModels
    chat: OpenAIServingChat
    completion: OpenAIServingCompletion


class VllmEngine(AdapterSlots, Lifetime):
    """The real engine; see `server.engine.base.Engine`. `start_vllm` creates it."""

    def __init__(
        self, llm: TappedLLM, serving: _Serving, info: EngineInfo, scratch: Scratch
    ) -> None:
        AdapterSlots.__init__(self, info.adapter_slots)
        Lifetime.__init__(self)
        self.nan_alarm = NanAlarm()
        self._llm = llm
        self._serving = serving
        self._info = info
        self._scratch = scratch
        self._adapters = asyncio.Lock()
        self._preparing: asyncio.Task[None] | None = None

    @property
    def info(self) -> EngineInfo:
        """What the engine serves."""
        return self._info

    async def answer(self, call: EngineCall) -> EngineResponse:
        """Answer with vLLM's serving layer.

        A stream is returned once its first event has arrived, so that a refused request gets its
        4xx status whether it streams or not.
        """
        self._check_alive()
        end_request = self._count_request(call.version)
        self.nan_alarm.began(call.version)
        response = None
        try:
            response = await self._answer(call, end_request)
        except RequestRefusedError as refused:
            response = refused.response()
        finally:
            if response is None or response.stream is None:
                end_request()
        return response

    async def _answer(self, call: EngineCall, end_request: Callable[[], None]) -> EngineResponse:
        request = self._request(call)
        current = CurrentCall(call, self.nan_alarm)
        token = current_call.set(current)
        try:
            answer = await self._create(call, request)
            if not request.stream:
                return EngineResponse(status=200, body=answer.model_dump_json())
            first = await self._first_event(answer, call.endpoint)
        except BaseException as error:  # noqa: BLE001  (`_translate` always raises)
            await current.release()
            self._translate(current.refused or error, call)
        finally:
            current_call.reset(token)
        stream = AnswerStream(
            first,
            answer,
            on_error=self._error_event,
            release=current.release,
            end_request=end_request,
        )
        return EngineResponse(status=200, stream=stream)

    def _request(self, call: EngineCall) -> _Request:
        self._require(call.version)
        fields = fields_of(call, self._info.limits) | overruled(call)
        kind = ChatCompletionRequest if call.endpoint == "chat" else CompletionRequest
        try:
            request: _Request = kind.model_validate(fields)
        except ValidationError as error:
            raise invalid(error.errors(include_input=False, include_url=False)) from None
        except Exception as error:  # noqa: BLE001  (its validators index into the client's JSON)
            param = getattr(error, "parameter", None)
            refused = refusal(str(error), status=400, param=param, endpoint=call.endpoint)
            _log_refusal(refused, error, call)
            raise refused from None
        return request

    async def _create(self, call: EngineCall, request: _Request) -> _Answer:
        answer: _Answer
        if call.endpoint == "chat":
            answer = await self._serving.chat.create_chat_completion(request, None)
        else:
            answer = await self._serving.completion.create_completion(request, None)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # vLLM's `OpenAIServingChat` and `OpenAIServingCompletion` (0.32) catch the cancellation
            # and return an error response. May go once they raise it.
            raise asyncio.CancelledError
        if isinstance(answer, ErrorResponse):
            raise _refusal(answer, call.endpoint)
        return answer

    async def _first_event(self, events: AsyncGenerator[str, None], endpoint: Endpoint) -> str:
        first = await anext(events)
        if first.startswith(ERROR_PREFIX):
            answer = ErrorResponse.model_validate_json(first.removeprefix("data: "))
            raise _refusal(answer, endpoint)
        return first

    def _translate(self, error: BaseException, call: EngineCall) -> NoReturn:
        """Raise the error that the caller gets for `error`, whose message may quote the request."""
        if not isinstance(error, Exception):
            raise error
        if not call.tap.finite:
            raise RequestRefusedError(str(NotFiniteError()), status=503) from None
        if not self.alive():
            raise EngineDeadError from error
        refused = _refused(error, call.endpoint)
        _log_refusal(refused, error, call)
        raise unless_structure(refused, call) from None

    def _error_event(self, _event: str) -> str:
        if self.nan_alarm.is_raised:
            return error_event(str(NotFiniteError()), status=503)
        if not self.alive():
            return error_event(str(EngineDeadError()), status=503)
        return error_event("The engine failed on this request.")

    async def load(self, version: str, path: Path) -> None:
        """Load the adapter into vLLM, then allow requests to name it."""
        async with self._adapters:
            if not self._needs_loading(version, path):
                return
            wanted = LoadLoRAAdapterRequest(lora_name=version, lora_path=str(path))
            answer = await unless(self._stopped, self._serving.models.load_lora_adapter(wanted))
            if isinstance(answer, ErrorResponse):
                raise AdapterLoadError(version, answer.error.message)
            self._add(version, path)

    async def unload(self, version: str) -> None:
        """Stop allowing requests to name the adapter, then remove it from vLLM's memory."""
        async with self._adapters:
            lora = self._serving.models.lora_requests.get(version)
            if lora is None:
                return
            self._remove(version)
            gone = UnloadLoRAAdapterRequest(lora_name=version)
            await self._serving.models.unload_lora_adapter(gone)
            await unless(self._stopped, self._llm.remove_lora(lora.lora_int_id))

    @property
    def steps(self) -> int:
        """The number of scheduler steps in which a request ran."""
        return self._llm.counter.steps

    def busy(self) -> bool:
        """Return whether an unfinished request is past the compilation of its grammar."""
        return self._llm.computing()

    def _stopped(self) -> bool:
        return bool(self._llm.errored)

    async def _one_token(self) -> None:
        outputs = self._llm.generate(
            tokens_input([0]),
            SamplingParams(max_tokens=1, temperature=0.0, detokenize=False),
            f"probe-{uuid4().hex}",
            priority=_PROBE_PRIORITY,
        )
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    if is_not_finite(output):
                        self.nan_alarm.not_finite(BASE)
        except VLLMError as error:
            self._check_alive()
            raise _refusal(create_error_response(error)) from error

    def prepare_trials(self) -> None:
        """Start the grammar trial process in the background, so the first grammar need not wait."""
        self._preparing = asyncio.create_task(self._llm.trials.start())

    async def _shut_down(self) -> None:
        handler = self._llm.output_handler
        if handler is not None and not self._llm.get_num_unfinished_requests():
            # With no request waiting for outputs, `AsyncLLM.output_handler` would only log the
            # shutdown as a failure.
            handler.cancel()
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        await self._llm.trials.close()
        await asyncio.to_thread(self._llm.shutdown, _SHUTDOWN_SECONDS)
        self._scratch.remove()


def _refused(error: Exception, endpoint: Endpoint) -> RequestRefusedError:
    if isinstance(error, RequestRefusedError):
        return error
    refused = template_refusal(error)
    if refused is None and any(isinstance(cause, RecursionError) for cause in causes_of(error)):
        refused = RequestRefusedError("The request is nested too deeply: flatten it.")
    return refused or _refusal(create_error_response(error), endpoint)


def _refusal(answer: ErrorResponse, endpoint: Endpoint = "chat") -> RequestRefusedError:
    error = answer.error
    return refusal(error.message, status=error.code, param=error.param, endpoint=endpoint)


def _log_refusal(refused: RequestRefusedError, error: Exception, call: EngineCall) -> None:
    """Log the error classes of a refusal that does not explain itself; never an error's message."""
    kinds = [type(cause).__name__ for cause in causes_of(error)]
    if refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("engine_request_failed", id=call.id, error=kinds[0])
    elif is_unexplained(refused):
        log.warning("engine_refused_request", id=call.id, errors=kinds, place=_raised_at(error))


def _raised_at(error: Exception) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ""
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"


def _limits(llm: TappedLLM) -> Limits:
    """Return the engine's bounds on a request."""
    config = llm.model_config
    vocabulary = config.get_vocab_size()
    return Limits(
        choices=min(envs.VLLM_MAX_N_SEQUENCES, CHOICES_MAX),
        top_logprobs=vocabulary if config.max_logprobs < 0 else config.max_logprobs,
        seed=not current_platform.is_cpu(),
        context_tokens=config.max_model_len,
        vocabulary=vocabulary,
        structured_outputs=llm.limits,
    )


def _parse(config: EngineConfig, *, cpu: bool) -> Namespace:
    refuse_other_model(config.extra_args)
    with naming_the_setting(config):
        args: Namespace = make_arg_parser(_Parser()).parse_args(vllm_arguments(config, cpu=cpu))
        validate_parsed_serve_args(args)
    if getattr(args, "model_tag", None):  # as in `vllm serve MODEL`
        raise EngineStartError(
            "engine.extra_args: take out the argument without a flag; engine.model names the model."
        )
    refuse_unsafe(args)
    return args


def _with_dtype(config: EngineConfig, *, cpu: bool) -> EngineConfig:
    choice = dtype_for(config, cpu=cpu)
    log.info("dtype", dtype=choice.dtype, reason=choice.reason)
    return config.model_copy(update={"dtype": choice.dtype})


class _Parser(FlexibleArgumentParser):
    """vLLM's parser, but with an exception for a wrong argument instead of exiting the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _check_parsers(config: EngineConfig) -> None:
    """Raise `EngineStartError` for a parser that vLLM does not have.

    vLLM itself checks this only after it has loaded the model.
    """
    with naming_the_setting(config, "engine.tool_call_parser"):
        ParserManager.get_tool_parser(config.tool_call_parser, enable_auto_tools=True)
    with naming_the_setting(config, "engine.reasoning_parser"):
        ParserManager.get_reasoning_parser(config.reasoning_parser)


def configure(config: EngineConfig) -> tuple[Namespace, VllmConfig]:
    """Return vLLM's arguments and config, checked against the model's files and the device.

    Loads no weights and starts nothing. Raises `EngineStartError`, naming the setting at fault.
    """
    args = _parse(config, cpu=current_platform.is_cpu())
    _check_parsers(config)
    with naming_the_setting(config):
        return args, AsyncEngineArgs.from_cli_args(args).create_engine_config()


def _start_llm(
    args: Namespace, vllm_config: VllmConfig, limits: StructuredOutputsConfig, *, fast: bool
) -> TappedLLM:
    """Start EngineCore and wait until it is ready. Blocks for seconds to minutes."""
    if fast:
        # `vllm.platforms.cpu` has just forced spawn and the multi-process executor.
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        vllm_config.parallel_config.distributed_executor_backend = "uni"
        # A forked child inherits `plugins_loaded` and would not load Pawl's plug-in.
        vllm.plugins.plugins_loaded = False
    return TappedLLM(
        vllm_config,
        Executor.get_class(vllm_config),
        log_stats=not args.disable_log_stats,
        log_requests=False,
        limits=limits,
    )


def _serve(llm: TappedLLM, args: Namespace) -> _Serving:
    """Build the serving layer over `llm` as vLLM's own server does."""
    paths = [BaseModelPath(name=name, model_path=args.model) for name in args.served_model_name]
    models = LabelledModels(llm, paths)
    shared = {
        "request_logger": None,
        "chat_template": load_chat_template(args.chat_template),
        "chat_template_content_format": args.chat_template_content_format,
        "default_chat_template_kwargs": args.default_chat_template_kwargs,
        "trust_request_chat_template": False,
        "enable_auto_tools": args.enable_auto_tool_choice,
        "exclude_tools_when_tool_choice_none": args.exclude_tools_when_tool_choice_none,
        "tool_parser": args.tool_call_parser,
        "tool_strict_level": args.tool_strict_level,
        "reasoning_parser": args.structured_outputs_config.reasoning_parser,
    }
    renderer = OnlineRenderer(llm.model_config, llm.renderer, **shared)
    renderer.warmup()
    details = {"enable_prompt_tokens_details": args.enable_prompt_tokens_details}
    chat = OpenAIServingChat(
        llm, models, args.response_role, online_renderer=renderer, **shared, **details
    )
    completion = OpenAIServingCompletion(
        llm, models, online_renderer=renderer, request_logger=None, **details
    )
    return _Serving(models, chat, completion)


def _describe(llm: TappedLLM, args: Namespace, folder: Path) -> EngineInfo:
    return EngineInfo(
        name="vllm",
        model=args.model,
        model_fingerprint=model_fingerprint(folder),
        max_model_len=llm.model_config.max_model_len,
        device="cpu" if current_platform.is_cpu() else "cuda",
        adapter_slots=args.max_loras,
        max_lora_rank=args.max_lora_rank,
        model_folder=folder,
        adapter_dtype=_DTYPES[str(llm.vllm_config.lora_config.lora_dtype)],
        limits=_limits(llm),
    )


def warn_without_chat_template(llm: TappedLLM, args: Namespace) -> None:
    """Log a warning at startup if chat will be refused; completions need no template."""
    if not isinstance(llm.renderer, HfRenderer):  # other renderers have their own template
        return
    template = load_chat_template(args.chat_template)
    tokenizer = llm.renderer.get_tokenizer()
    if resolve_chat_template(tokenizer, template, None, model_config=llm.model_config) is None:
        log.warning("no_chat_template", model=args.model, fix=NO_CHAT_TEMPLATE)


async def start_vllm(config: EngineConfig, *, fast_start: bool = False) -> VllmEngine:
    """Start vLLM and return the engine once it can answer.

    Blocks the event loop meanwhile: the kernel ties the engine to the thread that starts it, so
    that must be a thread that lives as long as the engine (`common.parent_death`). Raises
    `EngineStartError`.

    Args:
        config: The engine's settings.
        fast_start: Fork, and keep the model in EngineCore's own process. Takes seconds instead of a
            quarter of a minute. For tests on a CPU only.

    """
    if not config.model:
        raise EngineStartError("No model: name one with --model or the setting engine.model.")
    cpu = current_platform.is_cpu()
    require_adapters(config.model, cpu=cpu)
    prepare_environment(os.environ, cpu=cpu)
    remove_leftovers()
    scratch = Scratch.create()  # if the start fails, the next one removes it
    os.environ["VLLM_RPC_BASE_PATH"] = str(scratch.path)
    started = perf_counter()
    config = _with_dtype(config, cpu=cpu)
    args, vllm_config = configure(config)
    llm = _start_llm(args, vllm_config, config.structured_outputs, fast=fast_start)
    strip_messages(logging.getLogger("vllm"))
    scratch.note(shared_memory_below(os.getpid()))
    try:
        require_generation(config.model, await llm.get_supported_tasks())
        info = _describe(llm, args, base_folder(config))
        with naming_the_setting(config):
            serving = _serve(llm, args)
        engine = VllmEngine(llm, serving, info, scratch)
    except BaseException:
        llm.shutdown(_SHUTDOWN_SECONDS)
        raise
    # As vLLM's server does, so that garbage collections skip permanent objects.
    freeze_gc_heap()
    warn_without_chat_template(llm, args)
    if not fast_start:
        engine.prepare_trials()
    log.info("engine_started", device=info.device, seconds=round(perf_counter() - started, 1))
    return engine
