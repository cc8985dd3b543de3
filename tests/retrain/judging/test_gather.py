"""Votes of several weeks, each once, and what held-out people said."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common.files import FileRecord
from retrain.dataset.snapshot import About, SnapshotManifest
from retrain.judging.gather import (
    gather_votes,
    held_out_labels,
    held_out_pairs,
    usable_snapshots,
)
from tests.retrain.judging.rows import NOON, judged_label, judged_pair


def manifest(
    *, days_ago: int = 0, fingerprint: str = "f", share: float = 0.1, **fields: Any
) -> SnapshotManifest:
    cut_off = NOON - timedelta(days=days_ago)
    about = About(
        run="run",
        channel="pawl",
        tenants=None,
        since=cut_off - timedelta(days=7),
        asked_since=cut_off - timedelta(days=7),
        cut_off=cut_off,
        base_model="tiny",
        base_fingerprint=fingerprint,
        parent=None,
    )
    values = {"pairs": 0, "pairs_by_signal": {}, "left_out": {}, "held_out": 0, "questions": 0}
    settings = {"pairs": {"held_out_share": share}}
    files: dict[str, FileRecord] = {}
    return SnapshotManifest(about=about, settings=settings, files=files, **values, **fields)


def snapshot(folder: Path, rows: Mapping[str, Sequence[Any]], **about: Any) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(manifest(**about).model_dump_json())
    for name, lines in rows.items():
        (folder / name).write_text("".join(f"{_line(line)}\n" for line in lines))
    return folder


def _line(row: Any) -> str:
    return json.dumps(row) if isinstance(row, dict) else row.model_dump_json()


def vote(name: str, signal: str = "thumbs", **fields: Any) -> dict[str, Any]:
    return {"id": name, "signal": signal, **fields}


def test_each_vote_is_taken_once_and_the_newest_one_counts(tmp_path: Path) -> None:
    new = snapshot(tmp_path / "new", {"labels.jsonl": [vote("a", label=True), vote("b")]})
    old = snapshot(
        tmp_path / "old",
        {
            "labels.jsonl": [vote("a", label=False), vote("c")],
            "pairs.jsonl": [vote("p", "ranking")],
        },
    )
    pairs, labels = tmp_path / "judge" / "pairs.jsonl", tmp_path / "judge" / "labels.jsonl"
    gathered = gather_votes({"new": new, "old": old}, pairs, labels)
    assert gathered.sources == {"new": 2, "old": 2}
    assert gathered.signals == {"thumbs": 3, "ranking": 1}
    assert gathered.votes == 4
    found = [json.loads(line) for line in labels.read_text().splitlines()]
    assert [row["id"] for row in found] == ["a", "b", "c"]
    assert found[0]["label"] is True


def test_what_programs_said_is_no_opinion_of_people(tmp_path: Path) -> None:
    rows: dict[str, list[Any]] = {
        "held_out_pairs.jsonl": [
            judged_pair("one", "two", "a"),
            judged_pair("one", "two", "a", rater="code", source="CODE"),
        ],
        "held_out_labels.jsonl": [judged_label("one", good=True)],
    }
    folders = [snapshot(tmp_path / name, rows) for name in ("new", "old")]
    assert [row.rater for row in held_out_pairs(folders)] == ["ann"]
    assert [row.good for row in held_out_labels(folders)] == [True]


def test_a_snapshot_of_an_earlier_release_has_nothing_of_held_out_people(tmp_path: Path) -> None:
    folder = snapshot(tmp_path / "old", {"pairs.jsonl": []})
    assert held_out_pairs([folder]) == []
    assert held_out_labels([folder]) == []


@pytest.mark.parametrize(
    ("about", "usable"),
    [
        ({"days_ago": 7}, True),
        ({"days_ago": 60}, False),
        ({"fingerprint": "another"}, False),
        ({"share": 0.2}, False),
    ],
)
def test_only_snapshots_of_the_window_the_base_model_and_the_same_people_count(
    tmp_path: Path, about: dict[str, Any], usable: bool
) -> None:
    folder = snapshot(tmp_path / "run", {}, **about)
    found = usable_snapshots({"run": folder}, manifest(), NOON - timedelta(days=56))
    assert (found == {"run": folder}) is usable


def test_a_snapshot_that_was_lost_or_changed_does_not_count(tmp_path: Path) -> None:
    missing = {"run": tmp_path / "nothing"}
    assert usable_snapshots(missing, manifest(), NOON - timedelta(days=56)) == {}
