"""Three weeks at Bramblewick, lived through over HTTP: the demo starts nothing but a server."""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from retrain.config import PairsConfig
from retrain.held_out import held_out
from server.demo.base_model import make_base_model
from server.demo.client import DemoClient, demo_client, gathered
from server.demo.figures import AnswerFigures, WinRate, win_rate
from server.demo.local_server import DemoServerError, LocalServer
from server.demo.report_models import DemoReport, Example, WeekReport
from server.demo.report_page import library_versions
from server.demo.screen import Screen
from server.demo.users import Town, make_users
from server.demo.week import (
    AT_ONCE,
    HELD_OUT_QUESTIONS,
    VISITS,
    Asked,
    base_figures,
    distinct,
    live_through,
    week_report,
)
from server.settings import DEFAULT_TENANT

MONDAY, HOUR = 0, 3
"""When the week's run is due: the default of `retrain.cron`, in UTC."""
RUN_SECONDS = 900.0
EXAM_QUESTIONS = 350
EXAMPLES = 5


@dataclass(slots=True)
class Demo:
    """What the demo is asked to do, and what it has seen so far."""

    out: Path
    weeks: int
    seed: int
    screen: Screen
    random_share: float = 0.1
    """Users who rate at random: at 1 there is nothing to learn, and the gate has to refuse."""
    asked: Asked = field(default_factory=dict)
    reports: list[WeekReport] = field(default_factory=list)
    base: AnswerFigures | None = None


async def run_demo(demo: Demo, server: LocalServer) -> DemoReport:
    """Make the model if need be, start `server`, live through the weeks; returns the figures."""
    started = time.monotonic()
    url, token = await server.start()
    demo.screen.say(f"serving at {url} (log: {server.log})")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(demo_client(url, token))
        await _weeks(demo, client)
        live_vs_base, examples = await _exam(demo, client)
    if demo.base is None:
        raise DemoServerError("no week was evaluated; see the server's log")
    return DemoReport(
        seed=demo.seed,
        seconds=time.monotonic() - started,
        base=demo.base,
        weeks=tuple(demo.reports),
        live_vs_base=live_vs_base,
        examples=examples,
        libraries=library_versions(),
    )


def make_model(folder: Path, screen: Screen) -> None:
    """Make the tiny base model, once a folder."""
    if folder.exists():
        screen.say(f"base model: {folder}")
        return
    with screen.bar("making the base model", None) as bar:
        report = make_base_model(folder, progress=lambda step, of, _loss: bar.at(step, of))
    screen.say(f"base model: {report.parameters:,} parameters, {report.seconds:.0f} s")


async def _weeks(demo: Demo, client: DemoClient) -> None:
    town = _town(demo)
    rng = random.Random(demo.seed)
    for week in range(1, demo.weeks + 1):
        with demo.screen.bar(
            f"week {week}: chats and feedback", VISITS + HELD_OUT_QUESTIONS
        ) as bar:
            await live_through(client, town, rng, demo.asked, bar.step)
        run = await _next_run(demo, client, week)
        await _note(demo, client, run)


def _town(demo: Demo) -> Town:
    share = PairsConfig().held_out_share
    users = make_users(seed=demo.seed, random_share=demo.random_share)
    return Town(users, lambda name: held_out(DEFAULT_TENANT, name, share))


async def _next_run(demo: Demo, client: DemoClient, week: int) -> Mapping[str, Any]:
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


async def _note(demo: Demo, client: DemoClient, run: Mapping[str, Any]) -> None:
    """Take down what the week came to, and show it."""
    rows = await client.evaluation(run["id"]) if run["verdict"] else []
    route = await client.route()
    if rows and demo.base is None:
        demo.base = base_figures(rows, demo.asked)
    report = week_report(run, rows, demo.asked, route["live"])
    demo.reports.append(report)
    demo.screen.show_week(report)


async def _exam(demo: Demo, client: DemoClient) -> tuple[WinRate, tuple[Example, ...]]:
    """Ask live and base the same held-out questions, once more, for the last line."""
    visits = distinct(_town(demo), random.Random(f"exam-{demo.seed}"), EXAM_QUESTIONS)
    arms: list[list[str]] = []
    for model in ("pawl@live", "pawl@base"):
        jobs = [client.chat(visit, answers=1, model=model) for visit in visits]
        arms.append([answers.texts[0] for answers in await gathered(jobs, AT_ONCE)])
    live, base = arms
    examples = tuple(
        Example(question=visit.text, base=one, live=other)
        for visit, one, other in list(zip(visits, base, live, strict=True))[:EXAMPLES]
    )
    return win_rate([visit.question for visit in visits], live, base), examples
