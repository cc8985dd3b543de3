"""`POST /v1/clock`: lets time pass. Mounted only with `server.adjustable_clock` on loopback."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from common.clock import AdjustableClock
from server.api.body import documented, json_body
from server.api.dependencies import administrator, services
from server.auth.keys import Principal
from server.services import Services

router = APIRouter(tags=["clock"])


class ClockIn(BaseModel):
    """How far to move forward."""

    model_config = ConfigDict(extra="forbid")

    advance_seconds: float = Field(ge=0, le=366 * 86400)


class ClockOut(BaseModel):
    """The server's time."""

    now: datetime


@router.post("/v1/clock", openapi_extra=documented(ClockIn))
async def advance(
    principal: Annotated[Principal, Depends(administrator)],
    here: Annotated[Services, Depends(services)],
    body: Annotated[ClockIn, Depends(json_body(ClockIn))],
) -> ClockOut:
    """Move the clock forward; the scheduler notices by itself."""
    del principal
    assert isinstance(here.clock, AdjustableClock)  # noqa: S101  (mounted only then)
    return ClockOut(now=here.clock.advance(timedelta(seconds=body.advance_seconds)))
