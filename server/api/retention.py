"""`GET|POST /v1/retention`: counts or removes texts older than `feedback.retention_days`."""

from server.api.dependencies import Here, Operator
from server.api.description.errors import errors
from server.api.routes import api_router
from server.maintenance.retention import RetentionOut

router = api_router("retention")

NOT_SET = errors(409)
"""`feedback.retention_days` is not set."""


@router.get("/v1/retention", responses=NOT_SET)
async def texts_due(principal: Operator, here: Here) -> RetentionOut:
    """Count the rows and runs whose texts are due for removal."""
    del principal
    return await here.retention.due()


@router.post("/v1/retention", responses=NOT_SET)
async def remove_texts(principal: Operator, here: Here) -> RetentionOut:
    """Remove the texts that are due now; the server also does this every day by itself."""
    del principal
    return await here.retention.apply()
