"""Shared parts of the demo's scenarios: options, users, the weekly run and its report."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from demo.client import DemoClient
from demo.report.figures import AnswerFigures
from demo.report.report_models import WeekReport
from demo.report.rollout_models import RolloutReport
from demo.screen import Screen
from demo.settings import RolloutChoice
from demo.shop.town import Town
from demo.shop.users import User, make_users
from demo.week import Asked, WeekPlan, base_figures, week_report
from retrain.config import PairsConfig
from retrain.dataset.held_out import held_out
from server.settings import DEFAULT_TENANT

MONDAY, HOUR = 0, 3
"""Weekday and hour in UTC of the weekly run: the default of `retrain.cron`."""
RUN_SECONDS = 900.0


@dataclass(slots=True)
class Demo:
    """The demo's options, and its results so far."""

    out: Path
    weeks: int
    seed: int
    screen: Screen
    random_share: float = 0.1
    """Share of users who rate at random. At 1 there is nothing to learn, and the gate refuses."""
    rollout: RolloutChoice = RolloutChoice.DIRECT
    plan: WeekPlan = field(default_factory=WeekPlan)
    asked: Asked = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    """All questions that were asked, so that none is asked again."""
    reports: list[WeekReport] = field(default_factory=list)
    rollouts: list[RolloutReport] = field(default_factory=list)
    base: AnswerFigures | None = None


def town_of(demo: Demo) -> Town:
    """Return the demo's users: those whose feedback is trained on, and those held out."""
    return town_with(demo, make_users(seed=demo.seed, random_share=demo.random_share))


def town_with(demo: Demo, users: tuple[User, ...]) -> Town:
    """Return a town of these users, which holds out the same users as the server does."""
    share = PairsConfig().held_out_share
    return Town(users, lambda name: held_out(DEFAULT_TENANT, name, share), demo.texts)


async def next_run(
    screen: Screen, client: DemoClient, week: int, seconds: float = RUN_SECONDS
) -> Mapping[str, Any]:
    """Advance the time to the next slot and return the run that the server's scheduler starts."""
    known = {run["id"] for run in await client.runs()}
    now = await client.now()
    await client.advance(next_slot(now) - now + timedelta(seconds=1))
    with screen.bar(f"week {week}: the scheduler's run", None) as bar:
        async with asyncio.timeout(seconds):
            while True:
                fresh = [run for run in await client.runs() if run["id"] not in known]
                if fresh and fresh[0]["state"] != "running":
                    return fresh[0]
                bar.tell(fresh[0]["step"] if fresh else "due")
                await asyncio.sleep(0.5)


def next_slot(now: datetime) -> datetime:
    """Return the next Monday at 03:00 UTC, strictly after `now`."""
    day = now.astimezone(UTC).replace(hour=HOUR, minute=0, second=0, microsecond=0)
    due = day + timedelta(days=(MONDAY - day.weekday()) % 7)
    return due if due > now else due + timedelta(days=7)


async def note(demo: Demo, client: DemoClient, run: Mapping[str, Any]) -> None:
    """Record the week's result and show it."""
    rows = await client.evaluation(run["id"]) if run["verdict"] else []
    route = await client.route()
    if rows and demo.base is None:
        demo.base = base_figures(rows, demo.asked)
    report = week_report(run, rows, demo.asked, route["live"])
    demo.reports.append(report)
    demo.screen.show_week(report)
