"""Find the answers of a trial with invalid tool calls. Each process checks an answer once.

Unlike the offline gate, there is no live answer to the same question. An event is a call of a tool
that was not offered, or with arguments that violate the tool's schema. Answers of both arms are
checked, so that faults that both versions have do not count against the canary.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from common.database import Database
from feedback.reading.trials import LogPosition, TrialAnswer, answers_after
from retrain.evaluation.tool_calls import invalid, offered_tools
from retrain.rollout.trial_evidence import User

_PAGE = 500
_LATE = timedelta(minutes=15)
"""How far back each read starts again. Answers are ordered by the time of their request, so one
that took long appears behind the reader's position."""


@dataclass(slots=True)
class _Calls:
    """Users and times of invalid calls so far, the read position, and recently read answers."""

    seen: list[tuple[User, datetime]] = field(default_factory=list)
    after: LogPosition | None = None
    read: dict[str, datetime] = field(default_factory=dict)

    def forget(self) -> None:
        if self.after is not None:
            begin = self.after[0] - _LATE
            self.read = {name: at for name, at in self.read.items() if at >= begin}


class CallReader:
    """Collects, for each trial, the users who got an invalid tool call."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calls: dict[str, _Calls] = defaultdict(_Calls)

    async def read(self, trial: str) -> list[tuple[User, datetime]]:
        """Check new answers; return users and times of all invalid calls so far, oldest first."""
        calls = self._calls[trial]
        place = None if calls.after is None else (calls.after[0] - _LATE, "")
        while True:
            answers, place = await answers_after(
                self._database, trial, place, _PAGE, with_message=True
            )
            new = [answer for answer in answers if answer.id not in calls.read]
            calls.seen += await asyncio.to_thread(_broken, new)
            calls.read |= {answer.id: answer.at for answer in new}
            calls.after = max(calls.after or place, place) if place else calls.after
            if len(answers) < _PAGE:
                calls.forget()
                return sorted(calls.seen, key=lambda event: event[1])


def _broken(answers: list[TrialAnswer]) -> list[tuple[User, datetime]]:
    return [(answer.user, answer.at) for answer in answers if _has_broken_call(answer)]


def _has_broken_call(answer: TrialAnswer) -> bool:
    tools = offered_tools(answer.request)
    return any(invalid(tools, call) for call in answer.parts.calls)
