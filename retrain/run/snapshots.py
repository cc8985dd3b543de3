"""The snapshots of a channel that are on this machine: the run's own, and those of earlier runs."""

import asyncio
from datetime import timedelta
from pathlib import Path

from retrain.dataset.snapshot import open_snapshot
from retrain.judging.gather import usable_snapshots
from retrain.run.context import SNAPSHOT, RunContext


async def window_snapshots(context: RunContext) -> dict[str, Path]:
    """Return the folders of all usable snapshots in the window, by run, the run's own first."""
    environment, run = context.environment, context.run
    current = await asyncio.to_thread(open_snapshot, context.snapshot)
    earlier = await environment.runs.of_channel(run.channel)
    folders = {run.id: context.snapshot} | {
        one.id: environment.folder / one.id / SNAPSHOT for one in earlier if one.id != run.id
    }
    since = current.about.cut_off - timedelta(days=environment.config.max_window_days)
    return await asyncio.to_thread(usable_snapshots, folders, current, since)
