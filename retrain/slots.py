"""Slots: ISO weeks such as `2026-w47`, their ids, and whether one may be run again. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from retrain.errors import InvalidSlotError, SlotFinishedError, SlotTakenError

FINISHED = ("promoted", "rolling_out", "rejected")
"""States of a run with a verdict; its slot is not run again."""

_SLOT = re.compile(r"[0-9]{4}-w[0-9]{2}")


SCHEDULED, EVIDENCE, MANUAL = "schedule", "evidence", "manual"
"""What started a run: the weekly slot, enough fresh feedback, or a person."""


class Attempt(Protocol):
    """A run of a slot. Attempt 0 is the scheduled one; the others were started in between."""

    attempt: int
    state: str


def slot_of(moment: datetime) -> str:
    """Return the ISO week (UTC) of a time."""
    year, week, _ = moment.astimezone(UTC).isocalendar()
    return f"{year:04}-w{week:02}"


def check_slot(slot: str) -> str:
    """Return `slot`; raise `InvalidSlotError` if it is not an ISO week."""
    try:
        if _SLOT.fullmatch(slot):
            datetime.strptime(f"{slot}-1", "%G-w%V-%u").replace(tzinfo=UTC)
            return slot
    except ValueError:
        pass
    raise InvalidSlotError("a slot is a week such as 2026-w47")


def label(slot: str, attempt: int) -> str:
    """Return the slot with its attempt, as used in ids: `2026-w47`, `2026-w47.1`."""
    return f"{slot}.{attempt}" if attempt else slot


def run_id(channel: str, slot: str, attempt: int) -> str:
    """Return the id of a run."""
    return f"{channel}-{label(slot, attempt)}"


def is_taken(attempts: Sequence[Attempt], *, several: bool = False) -> bool:
    """Return whether the scheduler must not start the slot: it was started or has a verdict.

    With `several` verdicts a week, only a scheduled start takes it.
    """
    return any(run.attempt == 0 or (run.state in FINISHED and not several) for run in attempts)


def next_attempt(
    slot: str, attempts: Sequence[Attempt], trigger: str, *, several: bool = False
) -> int:
    """Return the number of the slot's next attempt.

    Args:
        slot: The slot, for messages.
        attempts: Its attempts so far.
        trigger: What starts it.
        several: Whether a week may have several verdicts, because runs start on fresh feedback.

    Raises:
        SlotTakenError: Scheduled, and the slot was started or has a verdict.
        SlotFinishedError: Started by a person, and the slot has its only verdict.

    """
    if trigger == SCHEDULED:
        if is_taken(attempts, several=several):
            raise SlotTakenError(f"{slot} was started already")
        return 0
    if not several and any(run.state in FINISHED for run in attempts):
        raise SlotFinishedError(f"{slot} has its verdict: wait for the next week")
    return max((run.attempt for run in attempts), default=0) + 1
