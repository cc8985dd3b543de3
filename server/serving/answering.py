"""Answers one request: choose the version, call the engine, record the answer, send the last byte.

The end of an answer (`[DONE]`, or a JSON body) is held back until its interaction is committed, for
at most `commit_wait_seconds`, so that a client that has the whole answer can rate it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import structlog
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from pawl_client.callback import FeedbackCallback
from starlette.types import Receive, Scope, Send

from adapters.routing.route import Resolved, serving
from adapters.service import Registry
from common.clock import Clock
from feedback.ids import InteractionIds
from feedback.records import InteractionRecord, thread_hash
from feedback.schemas import InteractionIn
from server.auth.keys import Principal
from server.config import LimitsConfig
from server.engine.base import Endpoint, Engine, EngineResponse, EventStream
from server.engine.error_body import STREAM_END, error_event
from server.engine.errors import RequestRefusedError
from server.engine.limits import Limits
from server.engine.requests.rules import accepted_fields
from server.errors import DrainingError
from server.metrics.serving import ServingMetrics
from server.serving.drain import Drain
from server.serving.exchange import OWN, Exchange, Mode, Status, id_prefix, new_record, user_of
from server.serving.reported import reported_exchange
from server.serving.shadow import Shadow

log = structlog.get_logger()

Answer = TypeVar("Answer")

CLIENT_CLOSED_REQUEST = 499
ERROR_STATUS = 400


class AnsweringService:
    """Answers chat and completion requests and records each of them."""

    def __init__(  # noqa: PLR0913  (all of them are its parts)
        self,
        *,
        engine: Engine,
        registry: Registry,
        ids: InteractionIds,
        callback: FeedbackCallback,
        drain: Drain,
        clock: Clock,
        metrics: ServingMetrics,
        shadow: Shadow,
        limits: LimitsConfig,
        commit_wait_seconds: float,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._ids = ids
        self._callback = callback
        self._drain = drain
        self._clock = clock
        self._metrics = metrics
        self.shadow = shadow
        self._commit_wait = commit_wait_seconds
        self._limits = Limits(choices=limits.choices, top_logprobs=limits.top_logprobs)
        _warn_of_wider(self._limits, engine.info.limits)
        self._own = asyncio.Semaphore(limits.evaluation_concurrency)

    async def answer(
        self,
        request: Request,
        *,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        principal: Principal,
        mode: Mode,
    ) -> Response:
        """Answer one request.

        Raises:
            DrainingError: If the server is shutting down.
            AdaptersError: If the model is unknown or cannot be used.

        """
        self._refuse_while_draining()
        if mode not in OWN:
            return await self._answer(request, endpoint, body, principal, mode)
        async with self._own:  # the version is chosen after the wait, not before it
            return await self._answer(request, endpoint, body, principal, mode)

    async def _answer(
        self,
        request: Request,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        principal: Principal,
        mode: Mode,
    ) -> Response:
        await self._registry.up_to_date()
        self._refuse_while_draining()  # the drain may have started during the wait
        return await self._serve(request, self._begin(endpoint, body, principal, mode))

    def _refuse_while_draining(self) -> None:
        """Raise `DrainingError` if the server is shutting down."""
        if self._drain.draining:
            raise DrainingError

    def answer_unseen(
        self, identifier: str, channel: str, reported: InteractionIn, principal: Principal
    ) -> None:
        """Have the channel's live version answer a reported request too, for the log only.

        The answer is generated in the background, under the same conditions as shadow answers.

        Args:
            identifier: Id of the reported interaction.
            channel: The channel whose live version answers.
            reported: The request, and what another model answered.
            principal: Who reported it.

        """
        view = self._registry.routes()[channel]
        exchange = reported_exchange(
            identifier,
            reported,
            received_at=self._clock(),
            principal=principal,
            channel=channel,
            version=serving(view, self._engine.resident()),
            base_fingerprint=self._engine.info.model_fingerprint,
        )
        self.shadow.offer_reported(exchange)

    def _begin(
        self, endpoint: Endpoint, body: Mapping[str, Any], principal: Principal, mode: Mode
    ) -> Exchange:
        thread = thread_hash(principal.tenant, principal.key_id, body)
        resolved = self._registry.resolve(
            str(body.get("model", "")),
            tenant=None if principal.operator else principal.tenant,
            user=f"{principal.tenant}\0{user_of(body) or thread}",  # ids are unique per tenant only
            in_trial=mode == "live",
        )
        now = self._clock()
        record = new_record(
            self._ids.new(id_prefix(endpoint), principal.tenant, now),
            received_at=now,
            endpoint=endpoint,
            body=body,
            principal=principal,
            resolved=resolved,
            base_fingerprint=self._engine.info.model_fingerprint,
            thread=thread,
            mode=mode,
        )
        return self.begin(record, body, resolved)

    def begin(
        self, record: InteractionRecord, body: Mapping[str, Any], resolved: Resolved
    ) -> Exchange:
        """Start an exchange; the caller must end it with `finish`, `give_up` or `abandon`."""
        endpoint: Endpoint = "chat" if record.endpoint == "chat" else "completion"
        exchange = Exchange(record, endpoint, body, resolved, self._limits)
        exchange.run_id = self._callback.begin(record)
        self._drain.hold()
        if exchange.awaited:
            self.shadow.began()
        return exchange

    async def _serve(self, request: Request, exchange: Exchange) -> Response:
        try:
            answering = self.ask(exchange)
            response = await self.while_connected(request, answering, yields=exchange.yields)
        except BaseException as error:
            self.give_up(exchange, error)
            if isinstance(error, ClientLeftError):
                return Response(status_code=CLIENT_CLOSED_REQUEST, headers=exchange.headers)
            raise
        if response.stream is not None:
            return RecordedStream(
                self.relay(exchange, response.stream),
                sources=(response.stream,),
                abandon=lambda: self.abandon(exchange),
                headers=exchange.headers,
            )
        return await self._json(exchange, response)

    async def ask(self, exchange: Exchange) -> EngineResponse:
        """Return the engine's answer, or an error response if the body is not acceptable."""
        limits = self._engine.info.limits.within(exchange.limits)
        try:
            exchange.fields = accepted_fields(exchange.body, exchange.endpoint, limits)
        except RequestRefusedError as refused:
            return refused.response()
        return await self._engine.answer(exchange.call)

    async def while_connected(
        self, request: Request, answering: Awaitable[Answer], *, yields: bool = False
    ) -> Answer:
        """Wait for the engine until it answers, the client disconnects or the drain times out.

        Args:
            request: The request whose connection is watched.
            answering: The engine's work; it is cancelled if this raises.
            yields: Whether to stop as soon as the drain starts, before its deadline.

        Raises:
            ClientLeftError: If the client disconnects first.
            DrainingError: If the drain's deadline passes first.

        """
        answer = asyncio.ensure_future(answering)
        left = asyncio.ensure_future(_disconnected(request))
        try:
            async with self._drain.bounded(yields=yields):
                await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise ClientLeftError
        except TimeoutError:
            raise DrainingError from None
        finally:
            await cancelled(left)
            await cancelled(answer)

    async def _json(self, exchange: Exchange, response: EngineResponse) -> Response:
        await self.settle(exchange, response)
        self.shadow.offer(exchange)
        return Response(
            content=response.body,
            status_code=response.status,
            media_type="application/json",
            headers={**response.headers, **exchange.headers},
        )

    async def settle(self, exchange: Exchange, response: EngineResponse) -> None:
        """Record a complete JSON answer and wait for its commit."""
        failed = response.status >= ERROR_STATUS
        exchange.sent(response)
        exchange.record.error = f"http_{response.status}" if failed else None
        self.finish(exchange, exchange.status)
        await self.committed(exchange)

    async def relay(self, exchange: Exchange, stream: EventStream) -> AsyncGenerator[str]:
        """Yield the stream's events unchanged; hold `[DONE]` back until the record is durable."""
        try:
            async with self._drain.bounded(yields=exchange.yields), aclosing(stream):
                async for chunk in stream:
                    if chunk == STREAM_END:
                        break
                    exchange.served.append(chunk)
                    yield chunk
        except TimeoutError:
            exchange.record.error = DrainingError.__name__
            yield error_event(str(DrainingError()), status=503)
        except (GeneratorExit, asyncio.CancelledError):
            self.abandon(exchange)
            raise
        self.finish(exchange, exchange.status)
        await self.committed(exchange)
        yield STREAM_END
        self.shadow.offer(exchange)

    def give_up(self, exchange: Exchange, error: BaseException) -> None:
        """Record a request that failed with `error` or whose client disconnected."""
        exchange.record.error = type(error).__name__
        left = isinstance(error, ClientLeftError | asyncio.CancelledError)
        self.finish(exchange, "aborted" if left else "failed")

    def abandon(self, exchange: Exchange) -> None:
        """Record an answer that was cut off, unless it is recorded already."""
        self.finish(exchange, "aborted")

    def finish(self, exchange: Exchange, status: Status) -> None:
        """Pass the record to the log; further calls do nothing."""
        if exchange.run_id is None:
            return
        run_id, exchange.run_id = exchange.run_id, None
        exchange.fill(status)
        exchange.recorded = self._callback.finish(run_id)
        self._metrics.answered(exchange.record)
        self._drain.release()
        if exchange.awaited:
            self.shadow.ended()

    async def committed(self, exchange: Exchange) -> None:
        """Wait for the record's commit, for at most `commit_wait_seconds`."""
        recorded = exchange.recorded
        if recorded is None:
            return
        done, _ = await asyncio.wait({recorded}, timeout=self._commit_wait)
        if not done or recorded.exception() is not None:
            self._metrics.commit_was_late()


def _warn_of_wider(wanted: Limits, engine: Limits) -> None:
    """Log a warning for each configured limit above the engine's, which applies then."""
    for name in ("choices", "top_logprobs"):
        asked, taken = getattr(wanted, name), getattr(engine, name)
        if asked > taken:
            setting = f"server.limits.{name}"
            log.warning("limit_above_the_engines", setting=setting, wanted=asked, engine=taken)


class RecordedStream(StreamingResponse):
    """A streaming response whose record is written even if the stream is never read."""

    def __init__(
        self,
        stream: AsyncGenerator[str],
        *,
        sources: Sequence[EventStream],
        abandon: Callable[[], None],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(stream, media_type="text/event-stream", headers=dict(headers))
        self._stream = stream
        self._sources = sources
        self._abandon = abandon

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, then close it and its sources, also after an error."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stream.aclose()
            # Closing a generator that never started does not run its `finally` blocks.
            for source in self._sources:
                await source.aclose()
            self._abandon()


class ClientLeftError(Exception):
    """The client closed its connection before it got an answer."""


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel `task` if it still runs and wait for its end, so that the engine stops its work."""
    if task.done():
        return
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
