"""Weekly runs and the pairs they train on: `/v1/runs`, `/v1/pairs`."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from common.json_values import PlainText
from retrain.schemas import PlanOut, RunOut
from server.api.body import documented, json_body
from server.api.dependencies import administrator, services
from server.auth.keys import Principal
from server.errors import NotRunningError
from server.services import Services
from server.settings import DEFAULT_CHANNEL

router = APIRouter(tags=["runs"])

Admin = Annotated[Principal, Depends(administrator)]
Here = Annotated[Services, Depends(services)]


class RunIn(BaseModel):
    """Which channel is to be trained, by hand."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    channel: PlainText = DEFAULT_CHANNEL
    slot: PlainText | None = None


@router.get("/v1/runs")
async def list_runs(principal: Admin, here: Here, channel: str = DEFAULT_CHANNEL) -> list[RunOut]:
    """List a channel's runs, newest first."""
    return await here.runs.runs(here.own_channel(principal, channel))


@router.post("/v1/runs", openapi_extra=documented(RunIn), status_code=202)
async def start_run(
    principal: Admin, here: Here, body: Annotated[RunIn, Depends(json_body(RunIn))]
) -> RunOut:
    """Start a run by hand; it goes on after the answer."""
    channel = here.own_channel(principal, body.channel)
    if not here.engine.alive():
        raise NotRunningError("a run")  # it would fail where it is evaluated, hours later
    return await here.runs.start_run(channel, slot=body.slot, trigger="manual")


@router.get("/v1/runs/{run}")
async def read_run(run: str, principal: Admin, here: Here) -> RunOut:
    """Show a run: its step, figures, verdict and reasons."""
    return await here.own_run(principal, run)


@router.post("/v1/runs/{run}/cancel")
async def cancel_run(run: str, principal: Admin, here: Here) -> RunOut:
    """Stop a run at whatever step it is."""
    await here.own_run(principal, run)
    return await here.runs.cancel(run)


@router.get("/v1/runs/{run}/answers")
async def run_answers(run: str, principal: Admin, here: Here) -> list[dict[str, Any]]:
    """Give every row of a run's evaluation: what each arm answered, and the judge's score."""
    await here.own_run(principal, run)
    return [row async for row in here.runs.answers(run)]


@router.get("/v1/pairs")
async def plan(principal: Admin, here: Here, channel: str = DEFAULT_CHANNEL) -> PlanOut:
    """Say what a run would train on, and what it would leave out and why. Changes nothing."""
    return await here.runs.dry_run(here.own_channel(principal, channel))


@router.get("/v1/pairs/export")
async def export_pairs(
    principal: Admin,
    here: Here,
    channel: str = DEFAULT_CHANNEL,
    format: Literal["trl", "openai"] = "trl",  # noqa: A002  (the parameter's public name)
) -> StreamingResponse:
    """Stream the pairs as JSON lines, as TRL or as OpenAI's preference format takes them."""
    pairs = here.runs.export(here.own_channel(principal, channel), format)
    return StreamingResponse(_lines(pairs), media_type="application/jsonl")


async def _lines(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield orjson.dumps(row) + b"\n"
