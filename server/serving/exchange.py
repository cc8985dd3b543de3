"""One request and its answer: the state that is kept until the record is in the log."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any, Literal
from uuid import UUID

from adapters.routing.route import Resolved
from feedback.answer_parts import has_parts
from feedback.records import ChoiceRecord, InteractionRecord, conversation_hash
from feedback.visibility import visibility
from server.auth.keys import Principal
from server.engine.base import Endpoint, EngineCall, EngineResponse, Tap
from server.engine.errors import NotFiniteError
from server.engine.limits import USUAL_LIMITS, Limits

Status = Literal["complete", "aborted", "failed"]
Mode = Literal["live", "background", "evaluation", "shadow", "counterpart"]

PRIORITY = {"live": 0, "background": 1, "evaluation": 1, "shadow": 2, "counterpart": 2}
"""The engine's scheduling priority of each mode; lower values are scheduled first. Live requests
come before background and evaluation requests; shadow answers and counterparts come last."""
OWN = frozenset({"evaluation", "counterpart"})
"""Modes of the requests that runs make themselves, in which no client waits for an answer."""


@dataclass(slots=True)
class Exchange:
    """One request while it is being answered. `record` goes to the log; `fill` completes it."""

    record: InteractionRecord
    endpoint: Endpoint
    body: Mapping[str, Any]
    resolved: Resolved
    limits: Limits = USUAL_LIMITS
    fields: Mapping[str, Any] | None = None
    """The body's fields that are passed to the engine, once the body has been validated."""
    tap: Tap = field(default_factory=Tap)
    """Collects the engine's token ids and times."""
    served: list[str] = field(default_factory=list)
    """What was sent to the client: one JSON body, or a stream's events."""
    run_id: UUID | None = None
    """The callback's id of this exchange; None once it is finished."""
    recorded: asyncio.Future[Any] | None = None
    """Completes when the record is durable."""

    @property
    def call(self) -> EngineCall:
        """The engine's form of the request."""
        return EngineCall(
            id=self.record.id,
            endpoint=self.endpoint,
            model=self.shown_model,
            version=self.resolved.version,
            body=self.body,
            tap=self.tap,
            priority=PRIORITY[self.record.mode],
            cache_salt=self.record.tenant,
            limits=self.limits,
            fields=self.fields,
        )

    @property
    def yields(self) -> bool:
        """Whether a drain ends it at once, because no client waits for it."""
        return self.record.mode in OWN

    @property
    def awaited(self) -> bool:
        """Whether a client waits for it; shadow answers then do not start."""
        return self.record.mode in ("live", "background")

    @property
    def shown_model(self) -> str:
        """The response's `model`; for an undecided side of a comparison only the channel."""
        visible = visibility(self.record.comparison)
        return visible.model(self.resolved.channel, self.resolved.model_label)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response: the version, the interaction's id and the version's role."""
        headers = {
            "x-pawl-version": self.resolved.version,
            "x-pawl-interaction": self.record.id,
            "x-pawl-role": self.resolved.role,
        }
        return visibility(self.record.comparison).headers(headers)

    @property
    def status(self) -> Status:
        """`complete` if the engine finished all `n` choices, else `failed`."""
        whole = self.tap.complete and len(self.tap.choices) == (self.body.get("n") or 1)
        return "complete" if whole else "failed"

    def sent(self, response: EngineResponse) -> None:
        """Keep a complete JSON body; its messages go into the record."""
        if response.body is not None:
            self.served.append(response.body)

    def fill(self, status: Status) -> None:
        """Complete the record with what the tap collected."""
        tap, record = self.tap, self.record
        record.status = status
        if not tap.finite:
            record.error = NotFiniteError.__name__
        record.prompt_token_ids = tap.prompt_token_ids
        # Records wait in memory while the database is slow, so a plain text is not stored twice.
        record.served = self.served if has_parts(self.served) else ()
        record.cached_tokens = tap.cached_tokens
        if tap.first_token is not None:
            record.first_token_seconds = tap.first_token - tap.started
        record.duration_seconds = (tap.last_token or perf_counter()) - tap.started
        record.choices = [
            ChoiceRecord(index, choice.text, choice.token_ids, choice.finish_reason)
            for index, choice in sorted(tap.choices.items())
        ]
        if not may_be_stored(self.body):
            record.remove_texts()


def new_record(  # noqa: PLR0913  (each is a part of the record)
    identifier: str,
    *,
    received_at: datetime,
    endpoint: Endpoint,
    body: Mapping[str, Any],
    principal: Principal,
    resolved: Resolved,
    base_fingerprint: str,
    thread: str,
    mode: Mode,
) -> InteractionRecord:
    """Return the record of a request that has just arrived."""
    return InteractionRecord(
        id=identifier,
        received_at=received_at,
        tenant=principal.tenant,
        channel=resolved.channel,
        endpoint=endpoint,
        mode=mode,
        role=resolved.role,
        requested_model=str(body.get("model", "")),
        model=resolved.model_label,
        version=resolved.version,
        base_fingerprint=base_fingerprint,
        user=user_of(body),
        key_id=principal.key_id,
        conversation=conversation_hash(principal.tenant, body),
        thread=thread,
        trial=resolved.trial,
        trial_share=resolved.share,
        request=body,
    )


def id_prefix(endpoint: Endpoint) -> Literal["chatcmpl", "cmpl"]:
    """Return the prefix of an endpoint's interaction ids, as OpenAI's API has it."""
    return "chatcmpl" if endpoint == "chat" else "cmpl"


def user_of(body: Mapping[str, Any]) -> str | None:
    """Return the end user's id. `safety_identifier` is OpenAI's newer name for `user`."""
    named = (body.get("user"), body.get("safety_identifier"))
    return next((user for user in named if isinstance(user, str) and user), None)


def may_be_stored(body: Mapping[str, Any]) -> bool:
    """Return whether the log may keep the texts; `store: false` forbids it."""
    return body.get("store") in (None, True)
