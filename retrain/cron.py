"""Cron expressions: read by APScheduler, and checked field by field. All in UTC."""

import re
from datetime import UTC, datetime
from typing import Protocol

FIELDS = ("minute", "hour", "day", "month", "day_of_week")
_ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)


class Trigger(Protocol):
    """A cron expression, as APScheduler's `CronTrigger` reads it."""

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """The first moment at or after `now`, or after the previous one."""
        ...


def cron_trigger(expression: str) -> Trigger:
    """Read five cron fields, in UTC. Raises ValueError where they cannot be read."""
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415  (settings load without it)

    trigger: Trigger = CronTrigger.from_crontab(expression, timezone=UTC)
    return trigger


def check_cron(expression: str) -> str:
    """The expression; raises ValueError that names the field at fault, or says that it never comes.

    Weekdays go by name: APScheduler counts them from Monday, cron from Sunday, so that a number
    would be misread.
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
    """Raises ValueError where one field cannot be read; the others are left open."""
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
