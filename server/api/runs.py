"""Weekly runs and the pairs they train on: `/v1/runs`, `/v1/pairs`."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from common.json_values import PlainText
from retrain.dataset.export import ExportFormat
from retrain.schemas import PlanOut, RunOut
from server.api.dependencies import Admin, ChannelQuery, Here, RunPath
from server.api.description.errors import Responses, errors
from server.api.routes import api_router
from server.errors import NotRunningError
from server.settings import DEFAULT_CHANNEL

router = api_router("runs")

NOT_FOUND = errors(404)
EXPORTED: Responses = {
    200: {
        "description": "One pair a line.",
        "content": {"application/jsonl": {"schema": {"type": "string"}}},
    }
}

ReadMessagesQuery = Annotated[
    bool, Query(description="Whether users' next messages are read as in a run, else only counted")
]


class RunIn(BaseModel):
    """The channel to train, and optionally the week."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    channel: PlainText = DEFAULT_CHANNEL
    slot: PlainText | None = None


@router.get("/v1/runs", responses=NOT_FOUND)
async def list_runs(
    principal: Admin, here: Here, channel: ChannelQuery = DEFAULT_CHANNEL
) -> list[RunOut]:
    """List a channel's runs, newest first."""
    return await here.runs.runs(here.own_channel(principal, channel))


@router.post("/v1/runs", status_code=202, responses=errors(404, 409))
async def start_run(principal: Admin, here: Here, body: RunIn) -> RunOut:
    """Start a run; it continues in the background."""
    channel = here.own_channel(principal, body.channel)
    if not here.engine.alive():
        raise NotRunningError("a run")  # its evaluation would fail, hours later
    return await here.runs.start_run(channel, slot=body.slot, trigger="manual")


@router.get("/v1/runs/{run}", responses=NOT_FOUND)
async def read_run(run: RunPath, principal: Admin, here: Here) -> RunOut:
    """Show a run: its step, figures, verdict and reasons."""
    return await here.own_run(principal, run)


@router.post("/v1/runs/{run}/cancel", responses=errors(404, 409))
async def cancel_run(run: RunPath, principal: Admin, here: Here) -> RunOut:
    """Cancel a run, at any step."""
    await here.own_run(principal, run)
    return await here.runs.cancel(run)


@router.get("/v1/runs/{run}/answers", responses=NOT_FOUND)
async def run_answers(run: RunPath, principal: Admin, here: Here) -> list[dict[str, Any]]:
    """List the rows of a run's evaluation: the answer of each arm, and the judge's score."""
    await here.own_run(principal, run)
    return [row async for row in here.runs.answers(run)]


@router.get("/v1/pairs", responses=NOT_FOUND)
async def plan(
    principal: Admin,
    here: Here,
    channel: ChannelQuery = DEFAULT_CHANNEL,
    *,
    read_messages: ReadMessagesQuery = False,
) -> PlanOut:
    """Show what a run would train on, and what it would leave out and why. Changes nothing."""
    own = here.own_channel(principal, channel)
    return await here.runs.dry_run(own, read_messages=read_messages)


@router.get(
    "/v1/pairs/export",
    response_class=StreamingResponse,
    responses={**EXPORTED, **errors(404, 422)},
)
async def export_pairs(
    principal: Admin,
    here: Here,
    channel: ChannelQuery = DEFAULT_CHANNEL,
    format: Annotated[ExportFormat, Query(description="Whose form")] = "trl",  # noqa: A002  (the parameter's public name)
) -> StreamingResponse:
    """Stream the pairs as JSON lines, in TRL's or in OpenAI's preference format.

    With `kto`, the labels are streamed instead: TRL's unpaired preferences.
    """
    pairs = here.runs.export(here.own_channel(principal, channel), format)
    return StreamingResponse(_lines(pairs), media_type="application/jsonl")


async def _lines(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield orjson.dumps(row) + b"\n"
