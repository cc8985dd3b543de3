"""`POST /v1/clock`: advances the clock. Only with `server.adjustable_clock`, on loopback."""

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from common.clock import AdjustableClock
from server.api.dependencies import Admin, Here
from server.api.routes import api_router

router = api_router("clock")


class ClockIn(BaseModel):
    """How many seconds to move the clock forward."""

    model_config = ConfigDict(extra="forbid")

    advance_seconds: float = Field(ge=0, le=366 * 86400)


class ClockOut(BaseModel):
    """The server's time."""

    now: datetime


@router.post("/v1/clock")
async def advance(principal: Admin, here: Here, body: ClockIn) -> ClockOut:
    """Move the clock forward; the scheduler notices by itself."""
    del principal
    assert isinstance(here.clock, AdjustableClock)  # noqa: S101  (mounted only then)
    return ClockOut(now=here.clock.advance(timedelta(seconds=body.advance_seconds)))
