"""`GET|POST /v1/retention`: texts that are older than `feedback.retention_days`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from server.api.dependencies import administrator, services
from server.auth.keys import Principal
from server.errors import PermissionDeniedError
from server.maintenance.retention import RetentionOut
from server.services import Services

router = APIRouter(tags=["retention"])


async def operator(who: Annotated[Principal, Depends(administrator)]) -> Principal:
    """Somebody who may act for every tenant: the texts are everybody's."""
    if not who.operator:
        raise PermissionDeniedError("operator")
    return who


Operator = Annotated[Principal, Depends(operator)]
Here = Annotated[Services, Depends(services)]


@router.get("/v1/retention")
async def texts_due(principal: Operator, here: Here) -> RetentionOut:
    """Count what has texts that are due."""
    del principal
    return await here.retention.due()


@router.post("/v1/retention")
async def remove_texts(principal: Operator, here: Here) -> RetentionOut:
    """Remove the texts that are due now; every day that is done without being asked."""
    del principal
    return await here.retention.apply()
