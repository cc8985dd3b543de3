"""`pawl demo`: the whole loop on one machine, in minutes."""

from pathlib import Path
from typing import Annotated

import typer

from demo.settings import ModelChoice, RolloutChoice

WEEKS = {ModelChoice.SHOP: 3, ModelChoice.SMOLLM2: 1}

app = typer.Typer(help="Simulate some weeks of feedback and training.")


@app.callback(invoke_without_command=True)
def demo(  # noqa: PLR0913  (a command's options)
    context: typer.Context,
    model: Annotated[
        ModelChoice,
        typer.Option(help="A tiny model of a made-up shop, or SmolLM2-135M (93 MB from PyPI)."),
    ] = ModelChoice.SHOP,
    weeks: Annotated[
        int | None,
        typer.Option(min=1, max=52, help="Weeks to simulate.", show_default="3; smollm2: 1"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the users and their questions.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all files.", show_default="pawl-data/demo")
    ] = None,
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
    """Serve a small model, let users chat and rate, and let the weekly runs improve it."""
    if context.invoked_subcommand is not None:
        return
    if weeks is not None and rollout == RolloutChoice.CANARY:
        raise typer.BadParameter("--rollout canary has weeks of its own: leave --weeks out")
    if model == ModelChoice.SMOLLM2 and rollout == RolloutChoice.CANARY:
        raise typer.BadParameter("--rollout canary is for the shop: leave --model out")
    # Imported here: torch and matplotlib take seconds, and every other command would pay for them.
    from demo.start import DemoOptions, start_shop, start_smollm2  # noqa: PLC0415

    options = DemoOptions(
        out=out or Path("pawl-data") / ("demo" if model == ModelChoice.SHOP else "demo-smollm2"),
        weeks=weeks or WEEKS[model],
        seed=seed,
        random_share=random_share,
        rollout=rollout,
        keep=keep,
    )
    (start_smollm2 if model == ModelChoice.SMOLLM2 else start_shop)(options)


@app.command()
def model(folder: Path) -> None:
    """Make only the tiny base model."""
    from rich.console import Console  # noqa: PLC0415  (see above)

    from demo.driver import make_model  # noqa: PLC0415
    from demo.screen import Screen  # noqa: PLC0415

    make_model(folder, Screen(Console()))
