"""An engine with made-up answers, for `pawl serve --engine fake` and most of the tests.

It fulfils the contract of `server.engine.base`, which one suite tests for it and for vLLM. It
refuses logprobs, structured output and `auto` tools. Tests can make it die, hang or refuse
adapters.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from server.engine.adapter_slots import AdapterSlots
from server.engine.base import EngineCall, EngineInfo, EngineResponse, Tap, TappedChoice
from server.engine.config import EngineConfig
from server.engine.error_body import STREAM_END, error_event
from server.engine.errors import (
    AdapterLoadError,
    EngineDeadError,
    NotFiniteError,
    RequestRefusedError,
)
from server.engine.fake.answer import VOCABULARY, FakeAnswer, answer, prompt_text, token_ids
from server.engine.fake.wire import chunk, delta, response, usage
from server.engine.fingerprint import FAKE_MODEL, base_fingerprint
from server.engine.limits import CHOICES_MAX, Limits
from server.engine.nan_alarm import NanAlarm
from server.engine.requests.rules import fields_of, too_long
from server.engine.stream import AnswerStream

_MAX_LEN = 4096
_LIMITS = Limits(choices=CHOICES_MAX, context_tokens=_MAX_LEN, vocabulary=VOCABULARY)
_MISSING = ("logprobs", "top_logprobs", "response_format", "structured_outputs", "return_token_ids")


@dataclass(slots=True)
class Faults:
    """Faults that a test switches on."""

    refuse_adapters: bool = False
    not_finite: frozenset[str] = frozenset()
    """Versions that compute NaN. After a request to one, all versions do, as in a real engine."""
    token_delay_seconds: float = 0.0


class FakeEngine(AdapterSlots):
    """The fake engine; see `server.engine.base.Engine`."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        config = config or EngineConfig(kind="fake")
        super().__init__(config.adapter_slots)
        self.nan_alarm = NanAlarm()
        self.faults = Faults(token_delay_seconds=config.fake_token_delay_seconds)
        self._model = config.model or FAKE_MODEL
        self._limits = replace(_LIMITS, structured_outputs=config.structured_outputs)
        self._fingerprint = base_fingerprint(config.model_copy(update={"kind": "fake"}))
        self._max_lora_rank = config.max_lora_rank
        self._dead = asyncio.Event()
        self._running = asyncio.Event()
        self._running.set()
        self._closed = False
        self._steps = self._waiting = 0

    @classmethod
    def from_config(cls, config: EngineConfig) -> Self:
        """Return an engine with these settings."""
        return cls(config)

    @property
    def info(self) -> EngineInfo:
        """What the engine serves."""
        return EngineInfo(
            name="fake",
            model=self._model,
            model_fingerprint=self._fingerprint,
            max_model_len=_MAX_LEN,
            device="fake",
            adapter_slots=self.slots,
            max_lora_rank=self._max_lora_rank,
            limits=self._limits,
        )

    def die(self) -> None:
        """Behave as if the engine's process had been killed."""
        self._dead.set()
        self._running.set()

    def hang(self) -> None:
        """Generate no more tokens until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        """Continue after `hang`."""
        self._running.set()

    async def answer(self, call: EngineCall) -> EngineResponse:
        """Answer with words chosen by a hash of version and prompt."""
        self._check_alive()
        end_request = self._count_request(call.version)
        self.nan_alarm.began(call.version)
        reply = None
        try:
            reply = await self._answer(call, end_request)
        except RequestRefusedError as refused:
            reply = refused.response()
        finally:
            if reply is None or reply.stream is None:
                end_request()
        return reply

    async def _answer(self, call: EngineCall, end_request: Callable[[], None]) -> EngineResponse:
        self._require(call.version)
        self._check_finite(call)
        fields = fields_of(call, _LIMITS)
        _refuse_missing(fields)
        answers = [answer(call.version, fields, choice) for choice in range(fields.get("n", 1))]
        prompt = token_ids(prompt_text(fields))
        if len(prompt) >= _MAX_LEN:
            raise too_long(call.endpoint, _MAX_LEN)
        if fields.get("stream"):
            events = self._events(call, fields, prompt, answers)
            first = await anext(events)
            stream = AnswerStream(
                first, events, on_error=str, release=_nothing, end_request=end_request
            )
            return EngineResponse(status=200, stream=stream)
        tap = Tap()
        async for _ in self._generate(tap, prompt, answers):
            pass
        _join(tap, call.tap)
        return EngineResponse(status=200, body=response(call, fields, prompt, answers))

    async def _generate(
        self, tap: Tap, prompt: list[int], answers: list[FakeAnswer]
    ) -> AsyncGenerator[tuple[int, str, str | None], None]:
        """Feed the tap a token of each choice in turn; yield choice, text and finish reason."""
        for place in range(max(len(one.pieces) for one in answers)):
            for index, one in enumerate(answers):
                if place < len(one.pieces):
                    await self._pace()
                    finish = one.finish_reason if place == len(one.pieces) - 1 else None
                    text, token = one.pieces[place]
                    _feed(tap, prompt, index, text, token, finish)
                    yield index, text, finish

    async def _pace(self) -> None:
        self._waiting += 1
        try:
            await asyncio.sleep(self.faults.token_delay_seconds)
            await self._running.wait()
        finally:
            self._waiting -= 1
        self._check_alive()
        self._steps += 1

    async def _events(
        self,
        call: EngineCall,
        fields: Mapping[str, Any],
        prompt: list[int],
        answers: list[FakeAnswer],
    ) -> AsyncGenerator[str, None]:
        begun = False
        try:
            async for index, text, finish in self._generate(call.tap, prompt, answers):
                if not begun and call.endpoint == "chat":
                    yield chunk(call, [_role(choice) for choice in range(len(answers))])
                begun = True
                yield chunk(call, [delta(call, index, text, finish=finish, fields=fields)])
        except EngineDeadError as error:
            if not begun:
                raise
            yield error_event(str(error), status=503)
        else:
            if fields.get("stream_options", {}).get("include_usage"):
                yield chunk(call, [], usage=usage(prompt, answers))
        yield STREAM_END

    async def load(self, version: str, path: Path) -> None:
        """Accept any folder that holds an `adapter_config.json`."""
        self._check_alive()
        if not self._needs_loading(version, path):
            return
        if self.faults.refuse_adapters:
            raise AdapterLoadError(version, "the fake engine is set to refuse it.")
        if not await asyncio.to_thread((path / "adapter_config.json").is_file):
            raise AdapterLoadError(version, "its folder holds no adapter_config.json.")
        self._add(version, path)

    async def unload(self, version: str) -> None:
        """Unload `version`."""
        self._remove(version)

    def alive(self) -> bool:
        """Return whether the engine has neither died nor been closed."""
        return not self._dead.is_set() and not self._closed

    async def wait_dead(self) -> None:
        """Return once the engine has died; never return after `close`."""
        await self._dead.wait()

    @property
    def steps(self) -> int:
        """The number of tokens generated so far."""
        return self._steps

    def busy(self) -> bool:
        """Return whether a request waits for a token; an unread token means it does not wait."""
        return self._waiting > 0

    async def probe(self) -> None:
        """Generate one token."""
        self._check_alive()
        await self._pace()

    def kill(self) -> None:
        """Kill the engine; the same as `die`."""
        self.die()

    async def close(self) -> None:
        """Stop the engine; requests in flight end with an error event."""
        self._closed = True
        self._running.set()

    def _check_finite(self, call: EngineCall) -> None:
        if self.nan_alarm.is_raised or call.version in self.faults.not_finite:
            call.tap.finite = False
            self.nan_alarm.not_finite(call.version)
            raise RequestRefusedError(str(NotFiniteError()), status=503)
        self.nan_alarm.finite(call.version)

    def _check_alive(self) -> None:
        if not self.alive():
            raise EngineDeadError


async def _nothing() -> None:
    """Do nothing: closing the events already ends the request."""


def _refuse_missing(fields: Mapping[str, Any]) -> None:
    for name in _MISSING:
        if fields.get(name):
            raise RequestRefusedError(f"{name}: the fake engine has none.", param=name)


def _role(index: int) -> dict[str, Any]:
    return {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}


def _feed(
    tap: Tap, prompt: list[int], index: int, text: str, token: int, finish: str | None
) -> None:
    tap.last_token = perf_counter()
    if tap.first_token is None:
        tap.first_token = tap.last_token
        tap.prompt_token_ids = prompt
    choice = tap.choices.setdefault(index, TappedChoice())
    choice.texts.append(text)
    choice.token_ids.append(token)
    choice.finish_reason = finish


def _join(whole: Tap, tap: Tap) -> None:
    """Copy a complete answer at once, as vLLM's tap gets one that is not streamed."""
    tap.first_token, tap.last_token = whole.first_token, whole.last_token
    tap.prompt_token_ids, tap.choices = whole.prompt_token_ids, whole.choices
