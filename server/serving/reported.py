"""Turns an interaction that was reported to Pawl into a request that a version can answer too."""

from datetime import datetime
from typing import Any

from adapters.routing.route import Resolved
from feedback.records import thread_hash
from feedback.schemas import InteractionIn
from feedback.storage.write_plan import EXTERNAL
from server.auth.keys import Principal
from server.engine.base import Endpoint
from server.serving.exchange import Exchange, new_record

_REQUEST_FIELDS = {
    "messages",
    "prompt",
    "tools",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "user",
}


def reported_body(channel: str, reported: InteractionIn) -> dict[str, Any]:
    """Return the request of a reported interaction, with `channel` as its model."""
    request = reported.model_dump(include=_REQUEST_FIELDS, exclude_none=True)
    if not request.get("tools", True):
        del request["tools"]  # OpenAI's API refuses an empty list of tools
    return {"model": channel, **request}


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
    """Return an exchange for the reported interaction with `version` as the live version.

    The shadow takes its request from this exchange and has `version` answer it.
    """
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
