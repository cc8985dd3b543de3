"""One request and its answer, from the moment it has an id to its record in the log."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any, Literal

from adapters.route import Resolved
from feedback.records import ChoiceRecord, InteractionRecord, conversation_hash, thread_hash
from server.auth import Principal
from server.engine.base import Endpoint, EngineCall, Tap

Status = Literal["complete", "aborted", "failed"]
Mode = Literal["live", "evaluation"]


@dataclass(slots=True)
class Exchange:
    """What is known of one request while it is answered."""

    id: str
    endpoint: Endpoint
    body: Mapping[str, Any]
    principal: Principal
    resolved: Resolved
    mode: Mode
    received_at: datetime
    tap: Tap = field(default_factory=Tap)
    error: str | None = None
    recorded: asyncio.Future[None] | None = None

    @property
    def call(self) -> EngineCall:
        """The request as the engine gets it; our own traffic yields to the users'."""
        return EngineCall(
            id=self.id,
            endpoint=self.endpoint,
            model=self.resolved.model_label,
            version=self.resolved.version,
            body=self.body,
            tap=self.tap,
            priority=0 if self.mode == "live" else 1,
            cache_salt=self.principal.tenant,
        )

    @property
    def headers(self) -> dict[str, str]:
        """What every response carries: who answered, under which id, and why."""
        return {
            "x-pawl-version": self.resolved.version,
            "x-pawl-interaction": self.id,
            "x-pawl-role": self.resolved.role,
        }

    @property
    def answered_in_full(self) -> bool:
        """Whether every choice that was asked for ended by itself."""
        return self.tap.complete and len(self.tap.choices) == (self.body.get("n") or 1)

    def record(self, status: Status) -> InteractionRecord:
        """The interaction as the log keeps it."""
        tap, resolved = self.tap, self.resolved
        tenant, request = self.principal.tenant, dict(self.body)
        first_token = None if tap.first_token is None else tap.first_token - tap.started
        return InteractionRecord(
            id=self.id,
            received_at=self.received_at,
            tenant=tenant,
            channel=resolved.channel,
            endpoint=self.endpoint,
            mode=self.mode,
            role=resolved.role,
            requested_model=str(self.body.get("model", "")),
            model=resolved.model_label,
            version=resolved.version,
            user=_text(self.body.get("user")),
            key_id=self.principal.key_id,
            conversation=conversation_hash(tenant, request),
            thread=thread_hash(tenant, self.principal.key_id, request),
            request=request,
            prompt_token_ids=tap.prompt_token_ids,
            cached_tokens=tap.cached_tokens,
            status=status,
            error=self.error,
            first_token_seconds=first_token,
            duration_seconds=(tap.last_token or perf_counter()) - tap.started,
            choices=[
                ChoiceRecord(
                    index=index,
                    text=choice.text,
                    token_ids=choice.token_ids,
                    finish_reason=choice.finish_reason,
                )
                for index, choice in sorted(tap.choices.items())
            ],
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
