"""Blind comparisons: two versions answer one request, without showing which answer is whose.

Each side is an interaction of its own, recorded with its real version. The versions are assigned to
the sides at random, both are sent to the engine at the same time, and no part of the response
depends on the version except the answers.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from random import Random
from typing import Any
from uuid import uuid4

import orjson
from fastapi import Request
from fastapi.responses import Response

from adapters.routing.comparison import Between, compared
from adapters.routing.route import Resolved
from adapters.service import Registry
from common.clock import Clock
from feedback.ids import InteractionIds
from feedback.records import thread_hash
from server.auth.keys import Principal
from server.engine.base import Engine, EngineResponse, EventStream
from server.engine.error_body import error_body
from server.error_status import UNAVAILABLE, retry_after
from server.errors import DrainingError
from server.serving.answering import (
    CLIENT_CLOSED_REQUEST,
    ERROR_STATUS,
    AnsweringService,
    ClientLeftError,
    RecordedStream,
    cancelled,
)
from server.serving.drain import Drain
from server.serving.exchange import Exchange, new_record
from server.serving.merged_streams import SIDES, merged

SIDE_FAILED = "a side could not be answered: send the request again"


class Comparisons:
    """Answers requests with two versions. `random` assigns the versions to the sides."""

    def __init__(
        self,
        *,
        serving: AnsweringService,
        engine: Engine,
        registry: Registry,
        ids: InteractionIds,
        drain: Drain,
        clock: Clock,
        random: Random,
    ) -> None:
        self._serving = serving
        self._engine = engine
        self._registry = registry
        self._ids = ids
        self._drain = drain
        self._clock = clock
        self._random = random

    async def answer(
        self,
        request: Request,
        *,
        body: Mapping[str, Any],
        between: Between | None,
        principal: Principal,
    ) -> Response:
        """Answer both sides.

        Args:
            request: The request, whose connection is watched.
            body: The chat request; its `model` names the channel.
            between: The two versions to compare; None for the channel's default.
            principal: Who asks.

        Raises:
            DrainingError: If the server is shutting down.
            AdaptersError: If a model is unknown, or there are no two versions to compare.

        """
        if self._drain.draining:
            raise DrainingError
        await self._registry.up_to_date()
        if self._drain.draining:  # the drain may have started during the wait
            raise DrainingError
        sides = self._begin(body, between, principal)
        try:
            both = _answers([self._serving.ask(side) for side in sides])
            responses = await self._serving.while_connected(request, both)
        except BaseException as error:
            for side in sides:
                self._serving.give_up(side, error)
            if isinstance(error, ClientLeftError):
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            raise
        streams = [one.stream for one in responses if one.stream is not None]
        if len(streams) == len(sides):
            return self._streamed(sides, streams)
        return await self._whole(sides, responses)

    def _begin(
        self, body: Mapping[str, Any], between: Between | None, principal: Principal
    ) -> list[Exchange]:
        tenant = None if principal.operator else principal.tenant
        routes, resident = self._registry.routes(), self._engine.resident()
        versions = list(compared(body["model"], routes, resident, between, tenant=tenant))
        self._random.shuffle(versions)
        return self._exchanges(versions, body, principal)

    def _exchanges(
        self, versions: list[Resolved], body: Mapping[str, Any], principal: Principal
    ) -> list[Exchange]:
        now, comparison = self._clock(), f"comparison-{uuid4().hex}"
        thread = thread_hash(principal.tenant, principal.key_id, body)
        exchanges: list[Exchange] = []
        for version in versions:
            record = new_record(
                self._ids.new("chatcmpl", principal.tenant, now),
                received_at=now,
                endpoint="chat",
                body=body,
                principal=principal,
                resolved=version,
                base_fingerprint=self._engine.info.model_fingerprint,
                thread=thread,
                mode="live",
            )
            record.comparison = comparison
            exchanges.append(self._serving.begin(record, body, version))
        return exchanges

    def _streamed(self, sides: list[Exchange], streams: list[EventStream]) -> Response:
        relays = [
            self._serving.relay(side, stream) for side, stream in zip(sides, streams, strict=True)
        ]
        return RecordedStream(
            merged(relays),
            sources=streams,
            abandon=lambda: self._abandon(sides),
            headers=_headers(sides),
        )

    def _abandon(self, sides: list[Exchange]) -> None:
        for side in sides:
            self._serving.abandon(side)

    async def _whole(self, sides: list[Exchange], responses: list[EngineResponse]) -> Response:
        """Return the JSON response once both sides are durable."""
        for side, response in zip(sides, responses, strict=True):
            if response.stream is not None:  # the other side was refused
                await response.stream.aclose()
                self._serving.abandon(side)
        settled = map(self._serving.settle, sides, responses)
        await asyncio.gather(*settled)
        if any(response.status >= ERROR_STATUS for response in responses):
            return _refusal(responses)
        body = _body(sides, responses)
        return Response(body, headers=_headers(sides), media_type="application/json")


async def _answers(calls: list[Coroutine[Any, Any, EngineResponse]]) -> list[EngineResponse]:
    """Run both engine calls concurrently; if one fails or this is cancelled, stop the other."""
    tasks = [asyncio.ensure_future(one) for one in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            await _stopped(task)
        raise


async def _stopped(task: asyncio.Future[EngineResponse]) -> None:
    await cancelled(task)
    if task.cancelled() or task.exception() is not None:
        return
    stream = task.result().stream
    if stream is not None:
        await stream.aclose()


def _headers(sides: list[Exchange]) -> dict[str, str]:
    """Return the headers that both sides may show; `feedback.visibility` allows none."""
    return {name: value for side in sides for name, value in side.headers.items()}


def _refusal(responses: list[EngineResponse]) -> Response:
    """Return the error of both sides, or a general one if they differ, to keep them blind."""
    first, second = responses
    if (first.status, first.body) == (second.status, second.body):
        status, body, headers = first.status, first.body or "", dict(first.headers)
    else:
        status, body = UNAVAILABLE, error_body(SIDE_FAILED, status=UNAVAILABLE)
        headers = dict(retry_after(UNAVAILABLE) or {})
    return Response(body, status, headers=headers, media_type="application/json")


def _body(sides: list[Exchange], responses: list[EngineResponse]) -> bytes:
    record = sides[0].record
    answers = [
        {
            "side": name,
            "interaction": side.record.id,
            "response": orjson.Fragment(response.body or "null"),
        }
        for name, side, response in zip(SIDES, sides, responses, strict=True)
    ]
    return orjson.dumps(
        {
            "id": record.comparison,
            "object": "comparison",
            "channel": record.channel,
            "sides": answers,
        }
    )
