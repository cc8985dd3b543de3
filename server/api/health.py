"""`GET /health/live`, `/health/ready` and `/metrics`, which need no key, and `/openapi.json`."""

from typing import Any, Literal

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from server.api.dependencies import App, Here
from server.api.description.errors import Responses
from server.api.routes import api_router

router = api_router("health")


class LiveOut(BaseModel):
    """The event loop answers."""

    status: Literal["ok"]


class ReadyOut(BaseModel):
    """Whether the server is ready, and the state of each part."""

    ready: bool
    engine: Literal["ok", "dead"]
    route: Literal["ok", "unknown"]
    adapters: Literal["ok", "missing"]
    draining: bool
    database: Literal["ok", "degraded"]


NOT_READY: Responses = {
    503: {"model": ReadyOut, "description": "Not ready: send requests elsewhere."}
}


EXPOSITION: Responses = {
    200: {
        "description": "Prometheus's text format.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


@router.get("/health/live", response_model=LiveOut)
async def live() -> dict[str, str]:
    """Liveness: the event loop answers."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=ReadyOut, responses=NOT_READY)
async def ready(here: Here, response: Response) -> dict[str, Any]:
    """Readiness: the engine is alive, a route is known, its versions are loaded, and no drain."""
    report = await here.readiness()
    if not report["ready"]:
        response.status_code = 503
    return report


@router.get("/metrics", response_class=Response, responses=EXPOSITION)
async def metrics(here: Here) -> Response:
    """Return Pawl's and vLLM's metrics."""
    return Response(here.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json")
async def openapi(request: Request, principal: App) -> dict[str, Any]:
    """Return the OpenAPI schema."""
    del principal
    description: dict[str, Any] = request.app.openapi()
    return description
