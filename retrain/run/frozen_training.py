"""The training set of a run: assembled once, before its trainer starts, and found again later."""

import asyncio
from pathlib import Path

from pydantic import ValidationError

from retrain.dataset.snapshot import MANIFEST, SnapshotManifest, open_snapshot
from retrain.dataset.training_set.assembly import PAIRS, EarlierPairs, Sources
from retrain.dataset.training_set.files import (
    TrainingManifest,
    freeze_training_set,
    open_training_set,
)
from retrain.errors import SnapshotError
from retrain.run.context import COUNTERPARTS, SNAPSHOT, TRAINING, RunContext


async def training_set(context: RunContext) -> TrainingManifest:
    """Return the run's training set; assemble it if it is not there or was damaged.

    Raises `SnapshotError` if the snapshot is missing.
    """
    folder = context.folder / TRAINING
    try:
        return await asyncio.to_thread(open_training_set, folder)
    except SnapshotError:
        sources = await _sources(context)
    return await asyncio.to_thread(
        freeze_training_set,
        folder,
        sources,
        context.environment.config,
        _looked_for_counterparts(context),
    )


def _looked_for_counterparts(context: RunContext) -> bool:
    """Return whether the run looked for counterparts; not if it turned out to have no judge."""
    why_not = context.run.figures.get("counterparts", {}).get("why_not")
    return context.environment.finds_counterparts and why_not is None


async def _sources(context: RunContext) -> Sources:
    manifest = await asyncio.to_thread(open_snapshot, context.snapshot)
    made = context.folder / COUNTERPARTS / PAIRS
    folders = await _earlier_folders(context)
    found = await asyncio.to_thread(
        lambda: [_earlier(folder, manifest.about.base_fingerprint) for folder in folders]
    )
    here = [earlier for earlier in found if earlier is not None]
    return Sources(
        snapshot=context.snapshot,
        manifest=manifest,
        made=made if made.is_file() else None,
        earlier=here,
        missing=len(found) - len(here),
    )


async def _earlier_folders(context: RunContext) -> list[Path]:
    """Return the folders of the runs that live and its ancestors come from, newest first."""
    environment, parent = context.environment, context.run.parent
    if parent is None or not environment.config.replay_share:
        return []
    names = await environment.registry.lineage(parent)
    versions = [await environment.registry.version(name) for name in names]
    return [environment.folder / version.run for version in versions if version.run is not None]


def _earlier(run: Path, fingerprint: str) -> EarlierPairs | None:
    """Return the pairs that a run trained on; None if they are not here or of another base model.

    A run of an earlier release has no training set; its snapshot's pairs are what it trained on.
    """
    try:
        training = open_training_set(run / TRAINING)
    except SnapshotError:
        return _snapshot_pairs(run / SNAPSHOT, fingerprint)
    if training.base_fingerprint != fingerprint:
        return None
    return EarlierPairs(run / TRAINING / PAIRS, training.oldest_text)


def _snapshot_pairs(folder: Path, fingerprint: str) -> EarlierPairs | None:
    try:
        manifest = SnapshotManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None
    if manifest.about.base_fingerprint != fingerprint or not (folder / PAIRS).is_file():
        return None
    return EarlierPairs(folder / PAIRS, manifest.oldest_text or manifest.about.asked_since)
