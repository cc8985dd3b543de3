"""Runs the demo: starts a server, makes the base model and simulates the weeks over HTTP."""

import random
import time
from contextlib import AsyncExitStack
from pathlib import Path

from demo.canary_weeks import canary_weeks
from demo.client import DemoClient, demo_client
from demo.local_server import DemoServerError, LocalServer
from demo.report.figures import MeasuredWinRate, win_rate
from demo.report.report_models import DemoReport, SampleAnswer
from demo.report.report_page import library_versions
from demo.screen import Screen
from demo.settings import RolloutChoice
from demo.shop.base_model import make_base_model
from demo.story import Demo, next_run, note, town_of
from demo.week import exam, live_through

EXAM_QUESTIONS = 350
EXAMPLES = 5


async def run_demo(demo: Demo, server: LocalServer) -> DemoReport:
    """Start `server`, simulate the weeks and return the figures."""
    started = time.monotonic()
    url, token = await server.start()
    demo.screen.say(f"serving at {url} (log: {server.log})")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(demo_client(url, token))
        await (canary_weeks if demo.rollout == RolloutChoice.CANARY else _weeks)(demo, client)
        live_vs_base, examples = await _exam(demo, client)
    if demo.base is None:
        raise DemoServerError("no week was evaluated; see the server's log")
    return DemoReport(
        seed=demo.seed,
        seconds=time.monotonic() - started,
        base=demo.base,
        weeks=tuple(demo.reports),
        rollouts=tuple(demo.rollouts),
        live_vs_base=live_vs_base,
        examples=examples,
        libraries=library_versions(),
    )


def make_model(folder: Path, screen: Screen) -> None:
    """Make the tiny base model, unless `folder` has it already."""
    if folder.exists():
        screen.say(f"base model: {folder}")
        return
    with screen.bar("making the base model", None) as bar:
        report = make_base_model(folder, progress=lambda step, of, _loss: bar.at(step, of))
    screen.say(f"base model: {report.parameters:,} parameters, {report.seconds:.0f} s")


async def _weeks(demo: Demo, client: DemoClient) -> None:
    town = town_of(demo)
    rng = random.Random(demo.seed)
    for week in range(1, demo.weeks + 1):
        with demo.screen.bar(f"week {week}: chats and feedback", demo.plan.visits) as bar:
            await live_through(client, town, rng, demo.asked, bar.step, demo.plan)
        run = await next_run(demo.screen, client, week)
        await note(demo, client, run)


async def _exam(demo: Demo, client: DemoClient) -> tuple[MeasuredWinRate, tuple[SampleAnswer, ...]]:
    """Compare live with base on held-out questions, for the end of the report."""
    taken = await exam(client, town_of(demo), demo.seed, EXAM_QUESTIONS)
    examples = tuple(
        SampleAnswer(question=visit.text, base=one, live=other)
        for visit, one, other in list(zip(taken.visits, taken.base, taken.live, strict=True))
    )
    return win_rate(taken.questions, taken.live, taken.base), examples[:EXAMPLES]
