"""Texts in run folders: gone when the oldest of them is due, no sooner than the run ends."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from retrain.retention import NOTE, remove_texts, runs_due
from tests.retrain.runs import RUN, interrupted, ran
from tests.retrain.world import SATURDAY, House

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


def texts_below(folder: Path) -> list[str]:
    """Files in which a question or an answer can be read."""
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.is_file() and any(text in path.read_bytes() for text in (b"question", b"answer"))
    )


async def due(house: House, before: datetime) -> list[str]:
    return [path.name for path in await runs_due(house.database, house.folder, before)]


async def test_a_run_is_due_when_its_oldest_text_is(house: House) -> None:
    await ran(house)
    assert await due(house, SATURDAY - DAY) == []
    assert await due(house, SATURDAY) == [RUN]


async def test_texts_go_and_manifest_figures_and_report_stay(house: House) -> None:
    run = await ran(house)
    folder = house.folder / RUN
    before = {path.name for path in folder.rglob("*")}
    report = (folder / "report.json").read_bytes()
    remove_texts(folder, SATURDAY, SATURDAY)
    assert before - {path.name for path in folder.rglob("*")} == {
        "pairs.jsonl",
        "labels.jsonl",
        "requests.jsonl",
        "held_out.jsonl",
        "held_out_pairs.jsonl",
        "held_out_labels.jsonl",
        "evaluation.jsonl",
    }
    assert (folder / NOTE).read_text().startswith("2026-11-21")
    assert (folder / "report.json").read_bytes() == report
    assert json.loads((folder / "snapshot" / "manifest.json").read_text())["pairs"] > 5
    assert (await house.service().run(run.id)).verdict == run.verdict


async def test_what_is_done_is_not_due_again(house: House) -> None:
    await ran(house)
    remove_texts(house.folder / RUN, SATURDAY, SATURDAY)
    assert await due(house, SATURDAY + 99 * DAY) == []


async def test_a_run_under_way_keeps_its_texts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "train")
    assert (house.folder / RUN / "snapshot" / "pairs.jsonl").exists()
    assert await due(house, SATURDAY + 99 * DAY) == []


async def test_a_draft_that_a_crash_left_goes(house: House) -> None:
    draft = house.folder / "pawl-2026-w40" / ".snapshot.draft"
    draft.mkdir(parents=True)
    (draft / "spill").write_text("a question")
    assert await due(house, SATURDAY - 99 * DAY) == ["pawl-2026-w40"]
    remove_texts(draft.parent, SATURDAY, SATURDAY)
    assert texts_below(draft.parent) == []


async def test_no_folder_of_runs_is_no_error(house: House, tmp_path: Path) -> None:
    assert await runs_due(house.database, tmp_path / "none", SATURDAY) == []
