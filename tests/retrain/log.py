"""A small log for tests: questions, answers, and what was said about them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from feedback.models import Choice, Feedback, Interaction
from feedback.records import conversation_hash, pack, thread_hash
from server.database.database import Database

TENANT, CHANNEL = "shop", "pawl"


@dataclass
class Log:
    """Rows to be written; times go up by a second each."""

    now: datetime
    tenant: str = TENANT
    channel: str = CHANNEL
    prefix: str = ""
    rows: list[Any] = field(default_factory=list)

    def ask(self, question: str, *texts: str, user: str | None = "ann", **more: Any) -> str:
        """One answered request; returns its id."""
        self.now += timedelta(seconds=1)
        identifier = f"chatcmpl-{self.prefix}{len(self.rows):06}"
        request = {"messages": [{"role": "user", "content": question}], "temperature": 1.0}
        values: dict[str, Any] = {
            "id": identifier,
            "received_at": self.now,
            "tenant": self.tenant,
            "channel": self.channel,
            "endpoint": "chat",
            "mode": "live",
            "role": "live",
            "requested_model": "pawl",
            "model": "pawl@base",
            "version": "base",
            "base_fingerprint": "f" * 64,
            "user": user,
            "key_id": None,
            "conversation": conversation_hash(self.tenant, request),
            "thread": thread_hash(self.tenant, None, request),
            "request": request,
            "prompt_token_ids": pack([1, 2, 3]),
            "status": "complete",
        }
        self.rows.append(Interaction(**{**values, **more}))
        for index, text in enumerate(texts):
            self.rows.append(
                Choice(
                    interaction_id=identifier,
                    index=index,
                    text=text,
                    token_ids=pack([10 + ord(mark) % 50 for mark in text]),
                    tokens=len(text),
                    finish_reason="stop",
                )
            )
        return identifier

    def say(self, metric: str, about: str, value: Any, **more: Any) -> str:
        """One judgement; returns its id."""
        self.now += timedelta(seconds=1)
        identifier = f"feedback-{self.prefix}{len(self.rows):06}"
        values: dict[str, Any] = {
            "tenant": self.tenant,
            "id": identifier,
            "received_at": self.now,
            "interaction_id": about,
            "choice": 0,
            "metric_name": metric,
            "value": value,
            "source": "HUMAN",
            "tags": {},
            "digest": "",
        }
        self.rows.append(Feedback(**{**values, **more}))
        return identifier

    def prefer(self, better: str, worse: str, **more: Any) -> str:
        """A preference between two interactions."""
        return self.say("preference", better, {"over": worse, "choice": 0}, **more)

    async def write(self, database: Database) -> None:
        """Store everything that was not stored yet."""
        parents = [row for row in self.rows if isinstance(row, Interaction)]
        others = [row for row in self.rows if not isinstance(row, Interaction)]
        async with database.write() as session:
            for rows in (parents, others):
                session.add_all(rows)
                await session.flush()
