"""Remove texts from the folders of ended runs; figures, verdicts and adapters stay.

Snapshots and evaluations contain user text. They are removed as a whole when the oldest text that
they may contain is due, since they are not needed after the run. A training set also holds pairs of
earlier runs, so it is often due before.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from shutil import rmtree

from pydantic import ValidationError
from sqlmodel import col, select

from common.database import Database
from common.files import sync, write_whole
from retrain.counterparts import storage as counterparts
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
from retrain.dataset.training_set import assembly, files
from retrain.evaluation.storage import ROWS
from retrain.judging.storage import JUDGE, VOTE_FILES, WORK
from retrain.models import Run
from retrain.run.context import COUNTERPARTS, SNAPSHOT, TRAINING
from retrain.synthetic import making

TEXTS = (
    *(
        f"{SNAPSHOT}/{name}"
        for name in (PAIRS, LABELS, REQUESTS, HELD_OUT, HELD_OUT_PAIRS, HELD_OUT_LABELS)
    ),
    *(
        f"{COUNTERPARTS}/{name}"
        for name in (counterparts.ANSWERS, counterparts.PAIRS, making.QUESTIONS)
    ),
    *(f"{JUDGE}/{name}" for name in (*VOTE_FILES, WORK)),
    ROWS,
)
TRAINED_ON = (f"{TRAINING}/{assembly.PAIRS}", f"{TRAINING}/{assembly.LABELS}")
NOTE = "texts-removed"
"""Name of a file that records when the texts were removed."""


async def runs_due(database: Database, folder: Path, before: datetime) -> list[Path]:
    """Return the folders of ended runs that may contain texts from before `before`."""
    # Folders are listed before rows are read: a new run has a row before it has a folder.
    found = [path for path in _folders(folder) if _due(path, before)]
    running = await _running(database, [path.name for path in found])
    return [path for path in found if path.name not in running]


def remove_texts(run: Path, before: datetime, now: datetime) -> None:
    """Remove the texts from before `before` from one run's folder. Raises `OSError`."""
    write_whole(run / NOTE, f"{now.isoformat()}\n".encode())
    for path in _due(run, before):
        if path.is_dir():
            rmtree(path)
        else:
            path.unlink()
            sync(path.parent)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _due(run: Path, before: datetime) -> list[Path]:
    """Return the files that may contain a text from before `before`, and drafts that a crash left.

    A file is due as well if the manifest that tells its oldest text cannot be read.
    """
    found: list[Path] = []
    oldest = _oldest_in_snapshot(run)
    if oldest is None or oldest < before:
        found += [run / name for name in TEXTS]
        found += [*run.glob(".*.draft"), *run.glob(f"{SNAPSHOT}/.*.draft")]
        found += run.glob(f"{COUNTERPARTS}/.*.draft")
    oldest = _oldest_in_training_set(run)
    if oldest is None or oldest < before:
        found += [run / name for name in TRAINED_ON]
    return [path for path in found if path.exists()]


def _oldest_in_snapshot(run: Path) -> datetime | None:
    try:
        manifest = SnapshotManifest.model_validate_json((run / SNAPSHOT / MANIFEST).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return manifest.oldest_text or manifest.about.asked_since


def _oldest_in_training_set(run: Path) -> datetime | None:
    path = run / TRAINING / files.MANIFEST
    try:
        return files.TrainingManifest.model_validate_json(path.read_bytes()).oldest_text
    except (FileNotFoundError, ValidationError):
        return None


async def _running(database: Database, ids: Sequence[str]) -> Collection[str]:
    query = select(col(Run.id)).where(col(Run.id).in_(ids), col(Run.state) == "running")
    async with database.read() as session:
        return set((await session.exec(query)).all())
