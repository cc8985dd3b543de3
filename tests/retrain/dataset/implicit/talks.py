"""A log of talks for tests: what users asked, were answered, and wrote next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from feedback.models import Interaction
from feedback.records import conversation_hash, thread_hash
from tests.retrain.log import Log

Messages = list[dict[str, Any]]
BASE = "f" * 64


def first(question: str) -> Messages:
    return [{"role": "user", "content": question}]


def goes_on(messages: Messages, answer: str, message: str) -> Messages:
    turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": message}]
    return [*messages, *turns]


@dataclass
class Talks:
    """Adds requests of users to a log, a minute apart."""

    log: Log
    ids: list[str] = field(default_factory=list)

    def say(self, messages: Messages, *answers: str, user: str | None = "ann", **more: Any) -> str:
        """One answered request; returns its id."""
        self.log.now += timedelta(minutes=1)
        request: Mapping[str, Any] = {"messages": messages, **more.pop("request", {})}
        values = {
            "user": user,
            "request": request,
            "conversation": conversation_hash(self.log.tenant, request),
            "thread": thread_hash(self.log.tenant, None, request),
            "duration_seconds": 2.0,
        }
        made = self.log.ask("", *answers, **{**values, **more})
        self.ids.append(made)
        return made

    def again(self, question: str, answers: Sequence[str], **more: Any) -> list[str]:
        """The same question several times."""
        return [self.say(first(question), answer, **more) for answer in answers]

    def row(self, id_: str) -> Interaction:
        """The row of a request."""
        return next(one for one in self.log.rows if isinstance(one, Interaction) and one.id == id_)
