"""Copies vLLM's outputs, which protocols describe here, into the call's tap. Imports no vLLM."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, TypeVar

from server.engine.base import EngineCall, Tap, TappedChoice
from server.engine.errors import NotFiniteError, RequestAbortedError, RequestRefusedError
from server.engine.nan_alarm import NanAlarm


class TokenTimes(Protocol):
    """The engine's times of a request, in seconds on its clock; 0 for an event still to come."""

    first_token_ts: float
    last_token_ts: float
    is_corrupted: bool
    """Whether a token's logits had NaN. Set only with `VLLM_COMPUTE_NANS_IN_LOGITS`."""


class SampledChoice(Protocol):
    """One choice's new text and token ids, and its finish reason once it has ended."""

    index: int
    text: str
    token_ids: Sequence[int]
    finish_reason: str | None


class Output(Protocol):
    """One engine output: a delta if the request streams, else the complete answer."""

    @property
    def prompt_token_ids(self) -> Sequence[int] | None:
        """The prompt's token ids, with the first output of a request."""
        ...

    @property
    def num_cached_tokens(self) -> int | None:
        """The number of prompt tokens found in the prefix cache."""
        ...

    @property
    def metrics(self) -> TokenTimes | None:
        """The request's times; None if statistics are off."""
        ...

    @property
    def finished(self) -> bool:
        """Whether this is the request's last output."""
        ...

    @property
    def outputs(self) -> Sequence[SampledChoice]:
        """The choices with new tokens."""
        ...


def feed(tap: Tap, output: Output) -> None:
    """Append one output to `tap`. Runs once per token, so it does nothing else."""
    tap.last_token = perf_counter()
    if tap.first_token is None:
        tap.first_token = tap.last_token - _since_first_token(output.metrics)
        tap.prompt_token_ids = list(output.prompt_token_ids or ())
        tap.cached_tokens = output.num_cached_tokens or 0
    for sampled in output.outputs:
        choice = tap.choices.get(sampled.index)
        if choice is None:
            choice = tap.choices[sampled.index] = TappedChoice()
        choice.texts.append(sampled.text)
        choice.token_ids.extend(sampled.token_ids)
        if sampled.finish_reason is not None:
            choice.finish_reason = sampled.finish_reason


def is_not_finite(output: Output) -> bool:
    """Return whether a token of the answer was sampled from logits with NaN."""
    return output.metrics is not None and output.metrics.is_corrupted


def _is_abort(output: Output) -> bool:
    return output.finished and any(one.finish_reason == "abort" for one in output.outputs)


def _since_first_token(times: TokenTimes | None) -> float:
    """Return the seconds from the first to the last token of an answer that is not streamed."""
    if times is None or not times.first_token_ts:
        return 0.0
    return max(0.0, times.last_token_ts - times.first_token_ts)


@dataclass(slots=True)
class CurrentCall:
    """The call that the running task answers, and its outputs once the engine has it."""

    call: EngineCall
    alarm: NanAlarm
    outputs: AsyncGenerator[Output, None] | None = None
    refused: RequestRefusedError | None = None
    """Why it was refused on its way into the engine; vLLM's layers would reword it."""

    async def release(self) -> None:
        """Stop the request in the engine; does nothing if it has ended or never started."""
        if self.outputs is not None:
            await self.outputs.aclose()


current_call: ContextVar[CurrentCall | None] = ContextVar("current_call", default=None)

OutputT = TypeVar("OutputT", bound=Output)


def tapped(outputs: AsyncGenerator[OutputT, None]) -> AsyncGenerator[OutputT, None]:
    """Return `outputs`, copied into the current call's tap as they pass, if there is a call."""
    current = current_call.get()
    if current is None:
        return outputs
    feeding = _feeding(outputs, current)
    current.outputs = feeding
    return feeding


async def _feeding(
    outputs: AsyncGenerator[OutputT, None], current: CurrentCall
) -> AsyncGenerator[OutputT, None]:
    tap = current.call.tap
    async with aclosing(outputs):  # so that closing the answer aborts the request
        async for output in outputs:
            if is_not_finite(output):
                tap.finite = False
                current.alarm.not_finite(current.call.version)
                raise NotFiniteError
            if tap.first_token is None and not _is_abort(output):
                current.alarm.finite(current.call.version)
            feed(tap, output)
            if _is_abort(output):
                # The engine is shutting down; vLLM's output would look like a normal end.
                raise RequestAbortedError
            yield output
