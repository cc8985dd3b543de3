"""Slots: the names of the weeks, `2026-w47`, and whether one may be run again. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from retrain.errors import InvalidSlotError, SlotFinishedError, SlotTakenError

FINISHED = ("promoted", "rolling_out", "rejected")
"""States of a run that reached a verdict: its slot is not run again."""

_SLOT = re.compile(r"[0-9]{4}-w[0-9]{2}")


class Attempt(Protocol):
    """A run of a slot; attempt 0 is the schedule's, the others were started by hand."""

    attempt: int
    state: str


def slot_of(moment: datetime) -> str:
    """The slot of the ISO week (UTC) that a moment lies in."""
    year, week, _ = moment.astimezone(UTC).isocalendar()
    return f"{year:04}-w{week:02}"


def check_slot(slot: str) -> str:
    """`slot`; raises `InvalidSlotError` where it names no week."""
    try:
        if _SLOT.fullmatch(slot):
            datetime.strptime(f"{slot}-1", "%G-w%V-%u").replace(tzinfo=UTC)
            return slot
    except ValueError:
        pass
    raise InvalidSlotError("a slot is a week such as 2026-w47")


def label(slot: str, attempt: int) -> str:
    """The slot with its attempt, as ids and versions carry it: `2026-w47`, `2026-w47.1`."""
    return f"{slot}.{attempt}" if attempt else slot


def run_id(channel: str, slot: str, attempt: int) -> str:
    """The id of a run."""
    return f"{channel}-{label(slot, attempt)}"


def is_taken(attempts: Sequence[Attempt]) -> bool:
    """Whether the schedule must not start the slot: it did already, or there is a verdict."""
    return any(run.attempt == 0 or run.state in FINISHED for run in attempts)


def next_attempt(slot: str, attempts: Sequence[Attempt], *, scheduled: bool) -> int:
    """The number of the slot's next run.

    Raises:
        SlotTakenError: The schedule asks for a slot that was started or has a verdict.
        SlotFinishedError: Somebody asks for a slot that has a verdict.

    """
    if scheduled:
        if is_taken(attempts):
            raise SlotTakenError(f"{slot} was started already")
        return 0
    if any(run.state in FINISHED for run in attempts):
        raise SlotFinishedError(f"{slot} has its verdict: wait for the next week")
    return max((run.attempt for run in attempts), default=0) + 1
