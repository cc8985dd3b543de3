"""What every story of the demo is made of: its wishes, its users, a week's run, what came of it."""

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
from demo.shop.users import Town, User, make_users
from demo.week import Asked, base_figures, week_report
from retrain.config import PairsConfig
from retrain.dataset.held_out import held_out
from server.settings import DEFAULT_TENANT

MONDAY, HOUR = 0, 3
"""When the week's run is due: the default of `retrain.cron`, in UTC."""
RUN_SECONDS = 900.0


@dataclass(slots=True)
class Demo:
    """What the demo is asked to do, and what it has seen so far."""

    out: Path
    weeks: int
    seed: int
    screen: Screen
    random_share: float = 0.1
    """Users who rate at random: at 1 there is nothing to learn, and the gate has to refuse."""
    rollout: RolloutChoice = RolloutChoice.DIRECT
    asked: Asked = field(default_factory=dict)
    reports: list[WeekReport] = field(default_factory=list)
    rollouts: list[RolloutReport] = field(default_factory=list)
    base: AnswerFigures | None = None


def town_of(demo: Demo) -> Town:
    """The users whose feedback trains, and those whose questions are held out."""
    return town_with(make_users(seed=demo.seed, random_share=demo.random_share))


def town_with(users: tuple[User, ...]) -> Town:
    """A town of these users; who is held out is what the server will say."""
    share = PairsConfig().held_out_share
    return Town(users, lambda name: held_out(DEFAULT_TENANT, name, share))


async def next_run(demo: Demo, client: DemoClient, week: int) -> Mapping[str, Any]:
    """Let the time until the next slot pass; the server's scheduler does the rest."""
    known = {run["id"] for run in await client.runs()}
    now = await client.now()
    await client.advance(next_slot(now) - now + timedelta(seconds=1))
    with demo.screen.bar(f"week {week}: the scheduler's run", None) as bar:
        async with asyncio.timeout(RUN_SECONDS):
            while True:
                fresh = [run for run in await client.runs() if run["id"] not in known]
                if fresh and fresh[0]["state"] != "running":
                    return fresh[0]
                bar.tell(fresh[0]["step"] if fresh else "due")
                await asyncio.sleep(0.5)


def next_slot(now: datetime) -> datetime:
    """The next Monday, three o'clock UTC, strictly after `now`."""
    day = now.astimezone(UTC).replace(hour=HOUR, minute=0, second=0, microsecond=0)
    due = day + timedelta(days=(MONDAY - day.weekday()) % 7)
    return due if due > now else due + timedelta(days=7)


async def note(demo: Demo, client: DemoClient, run: Mapping[str, Any]) -> None:
    """Take down what the week came to, and show it."""
    rows = await client.evaluation(run["id"]) if run["verdict"] else []
    route = await client.route()
    if rows and demo.base is None:
        demo.base = base_figures(rows, demo.asked)
    report = week_report(run, rows, demo.asked, route["live"])
    demo.reports.append(report)
    demo.screen.show_week(report)
