"""Shadow answers: another version answers a share of the live requests again, for the log only.

A shadow answer is never shown to a user and must not slow one down. A request is queued after its
live answer has ended: otherwise both would process the same prompt while the user waits for the
first token. A shadow answer starts when few live answers have been in progress for a while, is
generated without streaming (one output instead of one per token) and with the lowest priority, and
is dropped if it waits too long. Live requests never wait for anything here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from pawl_client.callback import FeedbackCallback

from adapters.names import BASE
from adapters.routing.route import Resolved, RouteView
from adapters.service import Registry
from common.clock import Clock
from common.hashing import unit_interval
from feedback.ids import InteractionIds
from feedback.records import InteractionRecord
from feedback.storage.write_plan import EXTERNAL
from server.config import ShadowConfig
from server.engine.base import Engine, EngineResponse
from server.metrics.serving import ServingMetrics, ShadowMetrics, ShadowOutcome
from server.serving.exchange import Exchange, Status, id_prefix
from server.serving.user_load import Monotonic, UserLoad

_STREAMING = frozenset({"stream", "stream_options"})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """A queued request that `version` is to answer; `since` is in monotonic seconds."""

    live: Exchange
    version: str
    since: float


class Shadow:
    """Queues and runs shadow answers. All methods must be called on one event loop.

    Live requests call `began`, `ended` and `offer`, which never block and never raise. `load` is
    what they add up to.
    """

    def __init__(  # noqa: PLR0913  (all of them are its parts)
        self,
        *,
        engine: Engine,
        registry: Registry,
        ids: InteractionIds,
        callback: FeedbackCallback,
        clock: Clock,
        metrics: ServingMetrics,
        outcomes: ShadowMetrics,
        config: ShadowConfig,
        draining: Callable[[], bool],
        monotonic: Monotonic,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._ids = ids
        self._callback = callback
        self._clock = clock
        self._metrics = metrics
        self._outcomes = outcomes
        self._config = config
        self._draining = draining
        self._monotonic = monotonic
        self.load = UserLoad(config, monotonic)
        self._timer: asyncio.TimerHandle | None = None
        self._queue: deque[ShadowRequest] = deque()
        self._running: set[asyncio.Task[ShadowOutcome]] = set()
        self._closed = False

    def began(self) -> None:
        """Count a live request that has started."""
        self.load.began()

    def ended(self) -> None:
        """Stop counting a live request that has ended."""
        self.load.ended()
        self._start()

    def offer(self, live: Exchange) -> None:
        """Queue a finished live request for its channel's shadow version, if it is sampled."""
        view = self._registry.routes().get(live.record.channel)
        if view is None or view.shadow is None or not eligible(live.record, view):
            return
        self._enqueue(live, view.shadow)

    def offer_reported(self, reported: Exchange) -> None:
        """Queue a reported request for the version that `reported.resolved` names."""
        self._enqueue(reported, reported.resolved.version)

    def _enqueue(self, live: Exchange, version: str) -> None:
        self._drop_expired()
        if len(self._queue) >= self._config.queue_max:
            self._outcomes.ended(live.record.channel, "full")
        else:
            self._queue.append(ShadowRequest(live, version, self._monotonic()))
        self._start()

    async def close(self) -> None:
        """Drop the queue, cancel the running answers and wait for their end."""
        self._closed = True
        self._start()
        if self._timer is not None:
            self._timer.cancel()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _start(self) -> None:
        """Drop expired requests and start as many of the others as there is capacity for."""
        self._drop_expired()
        while self._queue and self._has_capacity():
            waiting = self._queue.popleft()
            if not self._wanted(waiting):
                self._outcomes.ended(waiting.live.record.channel, "gone")
                continue
            task = asyncio.create_task(self._answer(waiting), name="shadow")
            self._running.add(task)
            task.add_done_callback(partial(self._done, waiting))
        self._start_later()

    def _start_later(self) -> None:
        """Set a timer for the end of the quiet period: no further request may trigger a start."""
        if self._queue and self._timer is None and self.load.quiet_in > 0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.load.quiet_in, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._start()

    def _has_capacity(self) -> bool:
        return self.load.light and len(self._running) < self._config.concurrency

    def _drop_expired(self) -> None:
        ending = self._closed or self._draining()
        oldest = self._monotonic() - self._config.ttl_seconds
        while self._queue and (ending or self._queue[0].since < oldest):
            waiting = self._queue.popleft()
            outcome: ShadowOutcome = "shutdown" if ending else "expired"
            self._outcomes.ended(waiting.live.record.channel, outcome)

    def _wanted(self, waiting: ShadowRequest) -> bool:
        """Whether the version is loaded and, unless it is a report, still the channel's shadow."""
        if waiting.live.record.mode == EXTERNAL:
            return waiting.version == BASE or waiting.version in self._engine.resident()
        view = self._registry.routes().get(waiting.live.record.channel)
        return (
            view is not None
            and view.shadow == waiting.version
            and waiting.version in self._engine.resident()
        )

    def _done(self, waiting: ShadowRequest, task: asyncio.Task[ShadowOutcome]) -> None:
        self._running.discard(task)
        outcome: ShadowOutcome = "shutdown"
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                _log.error("shadow_failed", error=type(error).__name__)
            outcome = task.result() if error is None else "failed"
        self._outcomes.ended(waiting.live.record.channel, outcome)
        self._start()

    async def _answer(self, waiting: ShadowRequest) -> ShadowOutcome:
        exchange = self._exchange(waiting)
        run_id = self._callback.begin(exchange.record)
        status: Status = "aborted"
        try:
            outcome, status = await self._ask_engine(exchange)
        finally:
            exchange.fill(status)
            self._callback.finish(run_id)
            self._metrics.answered(exchange.record)
        return outcome

    async def _ask_engine(self, exchange: Exchange) -> tuple[ShadowOutcome, Status]:
        """Have the engine answer; return the outcome for metrics and the status for the log."""
        try:
            async with asyncio.timeout(self._config.answer_seconds):
                response = await self._engine.answer(exchange.call)
        except TimeoutError:
            exchange.record.error = TimeoutError.__name__
            return "overdue", "aborted"
        except Exception as error:  # noqa: BLE001  (an engine's error must not reach a live request)
            exchange.record.error = type(error).__name__
            _log.warning("shadow_failed", id=exchange.record.id, error=type(error).__name__)
            return "failed", "failed"
        exchange.sent(response)
        return _outcome(exchange, response)

    def _exchange(self, waiting: ShadowRequest) -> Exchange:
        live, now = waiting.live.record, self._clock()
        identifier = self._ids.new(id_prefix(waiting.live.endpoint), live.tenant, now)
        label = f"{live.channel}@{waiting.version}"
        resolved = Resolved(live.channel, waiting.version, "pinned", label)
        body = shadow_body(waiting.live.body)
        record = InteractionRecord(
            id=identifier,
            received_at=now,
            tenant=live.tenant,
            channel=live.channel,
            endpoint=live.endpoint,
            mode="shadow",
            role=resolved.role,
            requested_model=live.requested_model,
            model=label,
            version=waiting.version,
            base_fingerprint=live.base_fingerprint,
            user=live.user,
            key_id=live.key_id,
            parent=live.id,
            conversation=live.conversation,
            thread=live.thread,
            request=body,
        )
        return Exchange(record, waiting.live.endpoint, body, resolved, waiting.live.limits)


def eligible(live: InteractionRecord, view: RouteView) -> bool:
    """Return whether the shadow version of `view` should answer the request of `live` too.

    Only complete answers of the live version to users count: canary answers are compared by their
    users, and requests that named a version, evaluations, aborted and failed answers have nothing
    to compare a shadow answer with. A request whose client forbids storing it (`texts_removed_at`)
    is not answered again.
    """
    answered = live.mode == "live" and live.role == "live" and live.status == "complete"
    stored = live.texts_removed_at is None
    shadowed = view.shadow not in (None, BASE)
    return answered and stored and shadowed and sampled(live.id, view.shadow_share)


def sampled(interaction_id: str, share: float) -> bool:
    """Return whether an interaction is in the sample: a hash of its id is below `share` (0 to 1).

    The result is the same on each call and each server.
    """
    return unit_interval(interaction_id.encode(), purpose=b"shadow") < share


def shadow_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the live request's body without its streaming options."""
    return {name: value for name, value in body.items() if name not in _STREAMING}


def _outcome(exchange: Exchange, response: EngineResponse) -> tuple[ShadowOutcome, Status]:
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
        # The engine's queue is full. That is not the version's fault: it does not count as failed.
        exchange.record.error = f"http_{response.status}"
        return "refused", "aborted"
    if response.status >= HTTPStatus.BAD_REQUEST:
        exchange.record.error = f"http_{response.status}"
        return "failed", "failed"
    status = exchange.status
    return ("answered" if status == "complete" else "failed"), status
