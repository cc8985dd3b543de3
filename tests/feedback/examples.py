"""Records and services for the tests of the log."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from common.database import Database
from feedback.config import FeedbackConfig
from feedback.feedback_tokens import FeedbackTokens
from feedback.ids import InteractionIds
from feedback.ports import RecorderObserver
from feedback.recorder.recorder import Recorder
from feedback.records import (
    ChoiceRecord,
    FeedbackRecord,
    InteractionRecord,
    conversation_hash,
    thread_hash,
)
from feedback.service import FeedbackService

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
TENANT = "shop"
SECRET = b"a secret of the tests"
IDS = InteractionIds(SECRET)
TOKENS = FeedbackTokens(SECRET)


def new_id(tenant: str = TENANT) -> str:
    return IDS.new("chatcmpl", tenant, NOW)


def interaction(
    id_: str | None = None,
    *,
    texts: Sequence[str] = ("hello",),
    question: str = "hi",
    **fields: Any,
) -> InteractionRecord:
    request = {"model": "pawl", "messages": [{"role": "user", "content": question}]}
    given: dict[str, Any] = {
        "id": id_ or new_id(),
        "received_at": NOW,
        "tenant": TENANT,
        "channel": "pawl",
        "endpoint": "chat",
        "mode": "live",
        "role": "live",
        "requested_model": "pawl",
        "model": "pawl@base",
        "version": "base",
        "conversation": conversation_hash(TENANT, request),
        "thread": thread_hash(TENANT, None, request),
        "request": request,
        "prompt_token_ids": [1, 2, 3],
        "choices": [
            ChoiceRecord(index, text, token_ids=[4, 5], finish_reason="stop")
            for index, text in enumerate(texts)
        ],
        "status": "complete",
    }
    return InteractionRecord(**{**given, **fields})


def judgement(id_: str, *, digest: str = "one", **fields: Any) -> FeedbackRecord:
    given: dict[str, Any] = {
        "tenant": TENANT,
        "id": id_,
        "received_at": NOW,
        "interaction_id": "chatcmpl-x",
        "choice": 0,
        "metric_name": "thumbs",
        "value": True,
        "rater": None,
        "source": "HUMAN",
        "rationale": None,
        "tags": {},
        "key_id": None,
        "digest": digest,
    }
    return FeedbackRecord(**{**given, **fields})


@dataclass
class CountingObserver(RecorderObserver):
    """Records all calls."""

    groups: list[int] = field(default_factory=list)
    retries: int = 0
    failures: list[str] = field(default_factory=list)
    stored: list[tuple[str, str | None]] = field(default_factory=list)
    retracted: list[str] = field(default_factory=list)
    depth: int = 0

    def queue_depth(self, rows: int) -> None:
        self.depth = rows

    def committed(self, rows: int, seconds: float) -> None:  # noqa: ARG002
        self.groups.append(rows)

    def retried(self, rows: int) -> None:  # noqa: ARG002
        self.retries += 1

    def failed(self, rows: int, reason: str) -> None:
        self.failures += [reason] * rows

    def feedback_stored(self, metric_name: str, version: str | None) -> None:
        self.stored.append((metric_name, version))

    def feedback_retracted(self, metric_name: str) -> None:
        self.retracted.append(metric_name)


@asynccontextmanager
async def running_service(
    database: Database,
    config: FeedbackConfig | None = None,
    observer: RecorderObserver | None = None,
) -> AsyncIterator[tuple[FeedbackService, Recorder]]:
    config = config or FeedbackConfig()
    recorder = Recorder(database, config, observer or RecorderObserver())
    await recorder.start()
    try:
        yield FeedbackService(database, recorder, IDS, TOKENS, config, lambda: NOW), recorder
    finally:
        await recorder.close()
