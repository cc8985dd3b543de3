"""`GET /v1/servers`: the servers on this server's database."""

from adapters.schemas import ServerOut
from server.api.dependencies import Admin, Here
from server.api.routes import api_router

router = api_router("servers")


@router.get("/v1/servers")
async def list_servers(principal: Admin, here: Here) -> list[ServerOut]:
    """List the servers, oldest first; a server that died is shown for a minute."""
    del principal
    dead_seconds = here.settings.adapters.cluster.dead_seconds
    me = here.registry.server_id
    return [ServerOut.of(peer, me, dead_seconds) for peer in await here.registry.servers()]
