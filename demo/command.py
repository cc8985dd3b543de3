"""`pawl demo`: the whole loop on one machine, in minutes."""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated

import typer

from demo.settings import RolloutChoice

WEEKS = 3

app = typer.Typer(help="Simulate some weeks of feedback and training at Bramblewick.")


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    weeks: Annotated[
        int | None, typer.Option(min=1, max=52, help="Weeks to simulate.", show_default="3")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the users and their questions.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for all files.")] = Path("pawl-data/demo"),
    random_share: Annotated[
        float, typer.Option(min=0, max=1, help="Users who rate at random; 1: nothing to learn.")
    ] = 0.1,
    rollout: Annotated[
        RolloutChoice,
        typer.Option(help="What follows the offline gate; canary: 720 users decide, too."),
    ] = RolloutChoice.DIRECT,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running.")] = False,
) -> None:
    """Make a tiny model, serve it, let users chat and rate, and let the weekly runs improve it."""
    if context.invoked_subcommand is not None:
        return
    if weeks is not None and rollout == RolloutChoice.CANARY:
        raise typer.BadParameter("--rollout canary has weeks of its own: leave --weeks out")
    # Imported here: torch and matplotlib take seconds, and every other command would pay for them.
    from rich.console import Console  # noqa: PLC0415

    from demo.driver import make_model, run_demo  # noqa: PLC0415
    from demo.local_server import LocalServer  # noqa: PLC0415
    from demo.report.report_page import write_report  # noqa: PLC0415
    from demo.screen import Screen  # noqa: PLC0415
    from demo.story import Demo  # noqa: PLC0415

    screen = Screen(Console())
    out.mkdir(parents=True, exist_ok=True)
    make_model(out / "model", screen)
    shutil.rmtree(out / "data", ignore_errors=True)
    server = LocalServer(out, out / "model", seed=seed, rollout=rollout)
    finished = False
    try:
        wishes = Demo(out, weeks or WEEKS, seed, screen, random_share, rollout)
        report = asyncio.run(run_demo(wishes, server))
        finished = True
    finally:
        if not (keep and finished):
            server.stop()
    _, page = write_report(out, report)
    screen.show_report(report)
    screen.say(f"\nopen next: {page}")
    if keep:
        screen.say(f"the server is still running; end it with: kill {server.pid}")
    else:
        screen.say(f"serve the result: cd {out} && pawl serve")


@app.command()
def model(folder: Path) -> None:
    """Make only the tiny base model."""
    from rich.console import Console  # noqa: PLC0415  (see above)

    from demo.driver import make_model  # noqa: PLC0415
    from demo.screen import Screen  # noqa: PLC0415

    make_model(folder, Screen(Console()))
