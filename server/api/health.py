"""`GET /health/live`, `/health/ready`, `/metrics`: open to whoever can reach the port.

`GET /openapi.json` is not: it wants a key.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from server.api.dependencies import application, services
from server.auth.keys import Principal
from server.services import Services

router = APIRouter(tags=["health"])

Here = Annotated[Services, Depends(services)]


@router.get("/health/live")
async def live() -> dict[str, str]:
    """Say that the event loop answers."""
    return {"status": "ok"}


@router.get("/health/ready")
async def ready(here: Here, response: Response) -> dict[str, Any]:
    """Say whether requests are answered: the engine lives, no drain, a route is known (law 7)."""
    report = await here.readiness()
    if not report["ready"]:
        response.status_code = 503
    return report


@router.get("/metrics")
async def metrics(here: Here) -> Response:
    """Give vLLM's metrics, unchanged, and ours."""
    return Response(here.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(
    request: Request, principal: Annotated[Principal, Depends(application)]
) -> dict[str, Any]:
    """Describe the API."""
    del principal
    description: dict[str, Any] = request.app.openapi()
    return description
