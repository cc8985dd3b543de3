"""`GET /v1/servers`: the servers that share this one's database."""

from typing import Annotated

from fastapi import APIRouter, Depends

from adapters.schemas import ServerOut
from server.api.dependencies import administrator, services
from server.auth.keys import Principal
from server.services import Services

router = APIRouter(tags=["servers"])

Admin = Annotated[Principal, Depends(administrator)]
Here = Annotated[Services, Depends(services)]


@router.get("/v1/servers")
async def list_servers(principal: Admin, here: Here) -> list[ServerOut]:
    """List the servers, the oldest first; one that died is shown for a minute."""
    del principal
    dead_seconds = here.settings.adapters.cluster.dead_seconds
    me = here.registry.server_id
    return [ServerOut.of(peer, me, dead_seconds) for peer in await here.registry.servers()]
