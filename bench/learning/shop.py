"""Simulates weeks at the demo's shop for a case: real server, engine and trainer, over HTTP."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.learning.harness import Options
from bench.learning.shop_settings import shop_settings
from demo.client import DemoClient, demo_client
from demo.local_server import LocalServer
from demo.report.figures import AnswerFigures, MeasuredWinRate, answer_figures, win_rate
from demo.screen import Screen
from demo.shop.base_model import make_base_model
from demo.shop.town import Town
from demo.shop.users import make_users
from demo.story import Demo, next_run, town_with
from demo.week import WeekPlan, exam, live_through

USERS = 60
EXAM_QUESTIONS = 300

WeekOfTalk = Callable[[DemoClient, Town, random.Random], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Shop:
    """The conditions of a case.

    `flip` is the share of judgements that come out the wrong way. With `operator` each week's
    version is promoted by an operator's command, since nothing judges it. `talk` replaces the
    week's chats and feedback.
    """

    weeks: int
    plan: WeekPlan = field(default_factory=WeekPlan)
    retrain: str = ""
    sections: str = ""
    counterparts: bool = False
    flip: float = 0.05
    operator: bool = False
    talk: WeekOfTalk | None = None


@dataclass(frozen=True, slots=True)
class ShopOutcome:
    """What came of it: live against base on held-out questions, their answers, and the runs."""

    win: MeasuredWinRate
    live: AnswerFigures
    base: AnswerFigures
    runs: Sequence[Mapping[str, Any]]

    @property
    def note(self) -> str:
        """The interval, the share of correct and rude answers, and the runs, in one line."""
        return (
            f"[{self.win.low:.2f}, {self.win.high:.2f}], correct {self.base.correct:.2f} to "
            f"{self.live.correct:.2f}, rude {self.base.rude:.2f} to {self.live.rude:.3f}; "
            + "; ".join(described(run) for run in self.runs)
        )


def described(run: Mapping[str, Any]) -> str:
    """Return a run's state and what it was trained on."""
    figures = run["figures"]
    labels = figures.get("labels_up", 0) + figures.get("labels_down", 0)
    trained = f"{figures.get('pairs', 0)} pairs, {labels} labels"
    return f"{run['state']} ({trained})"


def base_model(options: Options) -> Path:
    """Return the tiny base model, made once. All seeds share it; they differ in the users."""
    folder = options.cache / "shop-model"
    if not folder.exists():
        report = make_base_model(folder)
        options.say(f"base model: {report.seconds:.0f} s")
    return folder


async def simulate(shop: Shop, seed: int, options: Options) -> ShopOutcome:
    """Simulate the weeks and examine the version that is live at the end."""
    settings = shop_settings(
        base_model(options),
        seed,
        retrain=shop.retrain,
        counterparts=shop.counterparts,
        sections=shop.sections,
    )
    server = LocalServer(options.folder, settings)
    try:
        url, token = await server.start()
        async with demo_client(url, token) as client:
            return await _weeks(shop, seed, options, client)
    finally:
        server.stop()


async def _weeks(shop: Shop, seed: int, options: Options, client: DemoClient) -> ShopOutcome:
    screen = Screen(Console(quiet=True))
    demo = Demo(options.folder, shop.weeks, seed, screen)
    town = town_with(demo, make_users(USERS, seed=seed, flip=shop.flip))
    rng, runs = random.Random(f"bench-{seed}"), []
    for week in range(1, shop.weeks + 1):
        if shop.talk is None:
            await live_through(client, town, rng, demo.asked, lambda: None, shop.plan)
        else:
            await shop.talk(client, town, rng)
        run = await next_run(screen, client, week)
        options.say(f"week {week}: {described(run)} {run['reason'] or ''}")
        if shop.operator and run["version"]:
            await client.promote(run["version"], "the benchmark's operator: nothing judges it")
        runs.append(run)
    return await _examined(client, town, seed, runs)


async def _examined(
    client: DemoClient, town: Town, seed: int, runs: Sequence[Mapping[str, Any]]
) -> ShopOutcome:
    taken = await exam(client, town, seed, EXAM_QUESTIONS)
    live, base = (
        answer_figures(list(zip(taken.questions, texts, strict=True)))
        for texts in (taken.live, taken.base)
    )
    return ShopOutcome(win_rate(taken.questions, taken.live, taken.base), live, base, runs)
