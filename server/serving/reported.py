"""What another model was asked, as a request that a version of ours can answer too."""

from datetime import datetime
from typing import Any

from adapters.routing.route import Resolved
from feedback.records import thread_hash
from feedback.schemas import InteractionIn
from feedback.storage.write_plan import EXTERNAL
from server.auth.keys import Principal
from server.engine.base import Endpoint
from server.serving.exchange import Exchange, new_record

_ASKED = {"messages", "prompt", "tools", "temperature", "top_p", "max_tokens", "stop", "user"}


def reported_body(channel: str, reported: InteractionIn) -> dict[str, Any]:
    """The request that the other model got, made to `channel`."""
    asked = reported.model_dump(include=_ASKED, exclude_none=True)
    if not asked.get("tools", True):
        del asked["tools"]  # none is not an empty list to OpenAI's API
    return {"model": channel, **asked}


def reported_exchange(
    identifier: str,
    reported: InteractionIn,
    *,
    received_at: datetime,
    principal: Principal,
    channel: str,
    version: str,
    base_fingerprint: str,
) -> Exchange:
    """The reported interaction, as if `version` had been live for it: the shadow copies that."""
    body = reported_body(channel, reported)
    endpoint: Endpoint = "completion" if reported.messages is None else "chat"
    resolved = Resolved(channel, version, "live", f"{channel}@{version}")
    record = new_record(
        identifier,
        received_at=received_at,
        endpoint=endpoint,
        body=body,
        principal=principal,
        resolved=resolved,
        base_fingerprint=base_fingerprint,
        thread=thread_hash(principal.tenant, principal.key_id, body),
        mode="live",
    )
    record.mode = EXTERNAL
    return Exchange(record, endpoint, body, resolved)
