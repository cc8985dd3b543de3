"""Slots: the names of the weeks, `2026-w47`. Pure."""

import re
from datetime import UTC, datetime

from retrain.errors import InvalidSlotError

_SLOT = re.compile(r"[0-9]{4}-w[0-9]{2}")


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
