"""Whether the base model is still the one whose answers the snapshot holds."""

import asyncio

from retrain.dataset.snapshot import open_snapshot
from retrain.errors import SnapshotError
from retrain.run.context import Ending, RunContext


async def other_base(context: RunContext) -> Ending | None:
    """Return an ending if the snapshot's answers are of another base model than the current one.

    A restarted server may resume a run with another base model.
    """
    try:
        manifest = await asyncio.to_thread(open_snapshot, context.snapshot)
    except SnapshotError:
        return None  # the trainer reports missing pairs
    if manifest.about.base_fingerprint in ("", context.environment.base.fingerprint):
        return None
    return Ending("failed", "the base model has changed since the snapshot: start the run again")
