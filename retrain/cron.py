"""Cron expressions in UTC: parsed by APScheduler, and validated field by field."""

import re
from datetime import UTC, datetime
from typing import Protocol

FIELDS = ("minute", "hour", "day", "month", "day_of_week")
_ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)


class Trigger(Protocol):
    """The part of APScheduler's `CronTrigger` that is used."""

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Return the first time at or after `now`, or after the previous one; None if none."""
        ...


def cron_trigger(expression: str) -> Trigger:
    """Parse five cron fields, in UTC. Raises `ValueError` if they are invalid."""
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415  (settings load without it)

    trigger: Trigger = CronTrigger.from_crontab(expression, timezone=UTC)
    return trigger


def check_cron(expression: str) -> str:
    """Return the expression if it is valid and fires at least once.

    Weekdays must be names: APScheduler counts them from Monday, cron from Sunday, so a number would
    be ambiguous. Raises `ValueError` that names the invalid field.
    """
    fields = expression.split()
    if len(fields) != len(FIELDS):
        raise ValueError("cron takes five fields: minute, hour, day, month, weekday")
    if re.search(r"\d", fields[-1]):
        raise ValueError("name the weekday in cron, such as mon")
    for place, field in enumerate(fields):
        _check_field(place, field)
    if cron_trigger(expression).get_next_fire_time(None, _ANY_DAY) is None:
        raise ValueError("there is no such day in any year: nothing would ever run")
    return expression


def _check_field(place: int, field: str) -> None:
    """Raise `ValueError` if one field is invalid, whatever the others are."""
    alone = ["*"] * len(FIELDS)
    alone[place] = field
    try:
        cron_trigger(" ".join(alone))
    except (ValueError, TypeError):
        name = FIELDS[place].replace("day_of_week", "weekday")
        raise ValueError(
            f"the {name} of cron cannot be read: write minute, hour, day, month and weekday, such "
            "as 0 3 * * mon"
        ) from None
