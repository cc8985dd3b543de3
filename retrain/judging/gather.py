"""Merge the votes of a run and of earlier ones, and what held-out people said. Blocks on files.

A run's snapshot has the feedback since the last promotion. A judge learns taste, which does not
change with the version, so all snapshots of the channel in the window are used, each vote once.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from common.files import PRIVATE_FOLDER, LineWriter
from retrain.dataset.held_out_judgements import JudgedLabel, JudgedPair
from retrain.dataset.snapshot import (
    HELD_OUT_LABELS,
    HELD_OUT_PAIRS,
    LABELS,
    PAIRS,
    SnapshotManifest,
    open_snapshot,
)
from retrain.errors import SnapshotError

Row = TypeVar("Row", bound=BaseModel)

PEOPLE = "HUMAN"
"""The source of the judgements that a judge is held against."""


@dataclass(slots=True)
class Gathered:
    """The merged votes: their number by run and by signal."""

    sources: dict[str, int] = field(default_factory=dict)
    signals: dict[str, int] = field(default_factory=dict)

    @property
    def votes(self) -> int:
        """The number of votes."""
        return sum(self.sources.values())


def usable_snapshots(
    snapshots: Mapping[str, Path], current: SnapshotManifest, since: datetime
) -> dict[str, Path]:
    """Return the snapshots whose votes may be merged with the current one's, by run.

    They are complete and in the window, and were taken on the same base model (token ids of another
    mean something else) with the same users held out.

    Args:
        snapshots: Folders by run, the newest first.
        current: The manifest of the run that needs a judge.
        since: Begin of the window.

    """
    found = {}
    for run, folder in snapshots.items():
        manifest = _manifest(folder)
        if manifest is not None and _fits(manifest, current, since):
            found[run] = folder
    return found


def gather_votes(snapshots: Mapping[str, Path], pairs: Path, labels: Path) -> Gathered:
    """Write the votes of all snapshots to two files, the newest of those with the same id."""
    pairs.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    gathered, seen = Gathered(), set[str]()
    with closing(LineWriter(pairs)) as to_pairs, closing(LineWriter(labels)) as to_labels:
        for run, folder in snapshots.items():
            before = len(seen)
            _copy(folder / PAIRS, to_pairs, seen, gathered)
            _copy(folder / LABELS, to_labels, seen, gathered)
            gathered.sources[run] = len(seen) - before
    return gathered


def held_out_pairs(snapshots: Sequence[Path]) -> list[JudgedPair]:
    """Return the comparisons that held-out people made, each once."""
    return _judged(snapshots, HELD_OUT_PAIRS, JudgedPair.model_validate_json)


def held_out_labels(snapshots: Sequence[Path]) -> list[JudgedLabel]:
    """Return the answers that held-out people rated, each judgement once."""
    return _judged(snapshots, HELD_OUT_LABELS, JudgedLabel.model_validate_json)


def _copy(source: Path, to: LineWriter, seen: set[str], gathered: Gathered) -> None:
    for line in _lines(source):
        row = json.loads(line)
        if row["id"] not in seen:
            seen.add(row["id"])
            signal = row["signal"]
            gathered.signals[signal] = gathered.signals.get(signal, 0) + 1
            to.write(line)


def _judged(snapshots: Sequence[Path], name: str, parse: Callable[[bytes], Row]) -> list[Row]:
    found: dict[str, Row] = {}
    for folder in snapshots:
        for line in _lines(folder / name):
            row = parse(line)
            found.setdefault(getattr(row, "id"), row)  # noqa: B009  (both kinds of rows have one)
    return [row for row in found.values() if getattr(row, "source") == PEOPLE]  # noqa: B009


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; none if a snapshot of an earlier release has no such file."""
    try:
        lines = path.open("rb")
    except FileNotFoundError:
        return
    with lines:
        for line in lines:
            yield line.rstrip(b"\n")


def _manifest(folder: Path) -> SnapshotManifest | None:
    try:
        return open_snapshot(folder)
    except SnapshotError:
        return None


def _fits(manifest: SnapshotManifest, current: SnapshotManifest, since: datetime) -> bool:
    return (
        manifest.about.base_fingerprint == current.about.base_fingerprint
        and manifest.about.cut_off >= since
        and _held_out_share(manifest) == _held_out_share(current)
    )


def _held_out_share(manifest: SnapshotManifest) -> object:
    return manifest.settings.get("pairs", {}).get("held_out_share")
