"""Starts the demo: model, server, weeks, report."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from demo.driver import make_model, run_demo
from demo.local_server import LocalServer
from demo.report.report_page import write_report
from demo.screen import Screen
from demo.settings import RolloutChoice, demo_settings
from demo.smollm2.fetch import fetch_smollm2
from demo.smollm2.report import write_plain_report
from demo.smollm2.settings import smollm2_settings
from demo.smollm2.table import show_plain_report
from demo.smollm2.weeks import PlainDemo, run_plain_demo
from demo.story import Demo


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The command's options."""

    out: Path
    weeks: int
    seed: int
    random_share: float
    rollout: RolloutChoice
    keep: bool


def start_shop(options: DemoOptions) -> None:
    """Simulate weeks at Bramblewick, on a tiny model that is made for it."""
    screen = Screen(Console())
    model = options.out / "model"
    make_model(model, screen)
    settings = demo_settings(model, options.seed, options.rollout)
    demo = Demo(
        options.out, options.weeks, options.seed, screen, options.random_share, options.rollout
    )
    with _served(options, settings) as server:
        report = asyncio.run(run_demo(demo, server))
    _, page = write_report(options.out, report)
    screen.show_report(report)
    _say_what_next(options, screen, page, server)


def start_smollm2(options: DemoOptions) -> None:
    """Simulate weeks of people who ask SmolLM2 everyday questions."""
    screen = Screen(Console())
    with screen.bar("fetching and converting SmolLM2-135M-Instruct", None):
        model = fetch_smollm2(options.out / "model")
    settings = smollm2_settings(model, options.seed, len(os.sched_getaffinity(0)))
    with _served(options, settings) as server:
        demo = PlainDemo(options.weeks, options.seed, screen)
        report = asyncio.run(run_plain_demo(demo, server))
    page = write_plain_report(options.out, report)
    show_plain_report(screen, report)
    _say_what_next(options, screen, page, server)


@contextmanager
def _served(options: DemoOptions, settings: str) -> Iterator[LocalServer]:
    """Provide a server that is stopped at the end, unless it is to be kept and all went well."""
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(options.out / "data", ignore_errors=True)
    server = LocalServer(options.out, settings)
    finished = False
    try:
        yield server
        finished = True
    finally:
        if not (options.keep and finished):
            server.stop()


def _say_what_next(options: DemoOptions, screen: Screen, page: Path, server: LocalServer) -> None:
    screen.say(f"\nopen next: {page}")
    if options.keep:
        screen.say(f"the server is still running; end it with: kill {server.pid}")
    else:
        screen.say(f"serve the result: cd {options.out} && pawl serve")
