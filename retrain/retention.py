"""Remove texts from the folders of ended runs; figures, verdicts and adapters stay.

Snapshots and evaluations contain user text. They are removed as a whole when the oldest text that
they may contain is due, since they are not needed after the run.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from shutil import rmtree

from pydantic import ValidationError
from sqlmodel import col, select

from common.database import Database
from common.files import sync, write_whole
from retrain.dataset.snapshot import (
    HELD_OUT,
    HELD_OUT_LABELS,
    HELD_OUT_PAIRS,
    LABELS,
    MANIFEST,
    PAIRS,
    REQUESTS,
    SnapshotManifest,
)
from retrain.evaluation.storage import ROWS
from retrain.models import Run
from retrain.run.context import SNAPSHOT

TEXTS = (
    *(
        f"{SNAPSHOT}/{name}"
        for name in (PAIRS, LABELS, REQUESTS, HELD_OUT, HELD_OUT_PAIRS, HELD_OUT_LABELS)
    ),
    ROWS,
)
NOTE = "texts-removed"
"""Name of a file that records when the texts were removed."""


async def runs_due(database: Database, folder: Path, before: datetime) -> list[Path]:
    """Return the folders of ended runs that may contain texts from before `before`."""
    # Folders are listed before rows are read: a new run has a row before it has a folder.
    found = [path for path in _folders(folder) if _texts(path) and _older(path, before)]
    running = await _running(database, [path.name for path in found])
    return [path for path in found if path.name not in running]


def remove_texts(run: Path, now: datetime) -> None:
    """Remove the texts from one run's folder. Raises `OSError`."""
    write_whole(run / NOTE, f"{now.isoformat()}\n".encode())
    for path in _texts(run):
        if path.is_dir():
            rmtree(path)
        else:
            path.unlink()
            sync(path.parent)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _texts(run: Path) -> list[Path]:
    """Return the files that contain texts, and drafts that a crash left."""
    drafts = (*run.glob(".*.draft"), *run.glob(f"{SNAPSHOT}/.*.draft"))
    return [path for path in (*(run / name for name in TEXTS), *drafts) if path.exists()]


def _older(run: Path, before: datetime) -> bool:
    """Return whether a text may be from before `before`; true if the manifest is unreadable."""
    try:
        manifest = SnapshotManifest.model_validate_json((run / SNAPSHOT / MANIFEST).read_bytes())
    except (FileNotFoundError, ValidationError):
        return True
    return (manifest.oldest_text or manifest.about.asked_since) < before


async def _running(database: Database, ids: Sequence[str]) -> Collection[str]:
    query = select(col(Run.id)).where(col(Run.id).in_(ids), col(Run.state) == "running")
    async with database.read() as session:
        return set((await session.exec(query)).all())
