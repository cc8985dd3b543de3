"""The frozen snapshot."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.reading.judgements import AskedPrompt
from retrain.config import RetrainConfig
from retrain.dataset.held_out_judgements import HeldOutJudgement
from retrain.dataset.judged import Side
from retrain.dataset.labels import Label
from retrain.dataset.pairs import Pair, PairsResult, pairs_of
from retrain.dataset.questions import question_key
from retrain.dataset.snapshot import (
    HELD_OUT,
    HELD_OUT_LABELS,
    HELD_OUT_PAIRS,
    LABEL_QUESTIONS,
    LABELS,
    MANIFEST,
    PAIRS,
    QUESTIONS,
    REQUESTS,
    About,
    SnapshotManifest,
    freeze,
    open_snapshot,
    read_held_out,
    read_judged_labels,
    read_judged_pairs,
    read_labels,
    read_question_keys,
    read_requests,
    window_start,
)
from retrain.errors import SnapshotError
from retrain.trainer.examples.rows import PairRow
from tests.retrain.dataset.test_held_out_judgements import EVERYBODY
from tests.retrain.dataset.test_pairs import SERVED, THREE, conversation, prefer, word

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 21, tzinfo=UTC)
ABOUT = About(
    run="pawl-2026-w47",
    channel="pawl",
    tenants=frozenset({"shop"}),
    since=NOW - timedelta(days=7),
    asked_since=NOW - timedelta(days=56),
    cut_off=NOW,
    base_model="tiny",
    parent=None,
)


def asked(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def pair(number: int) -> Pair:
    better = Side((f"a{number}", 0), "good\nwords", (1, number), (9,))
    worse = Side((f"b{number}", 0), "bad", (2, number), (9,))
    return Pair(
        id=f"{number:024x}",
        tenant="shop",
        conversation=str(number),
        messages=asked(f"question {number // 2}"),
        tools=None,
        prompt_token_ids=(9,),
        chosen=better,
        rejected=worse,
        signal="preference",
        weight=1.0,
    )


class StubLog:
    """So many pairs and labels, and one question of a held-out user."""

    def __init__(self, count: int, error: Exception | None = None, labels: int = 0) -> None:
        self.count, self.error, self.labels = count, error, labels
        self.held_out: list[HeldOutJudgement] = []

    async def results(self) -> AsyncIterator[PairsResult]:
        for number in range(self.count):
            yield PairsResult([pair(number)], Counter({"held_out": 2}))
        for number in range(self.labels):
            yield PairsResult([], Counter(), [label(number)], Counter({"labels": 1}))
        if self.error is not None:
            raise self.error

    async def interactions(self) -> int:
        return 40

    async def earlier(self) -> AsyncIterator[PairsResult]:
        for held_out in self.held_out:
            yield PairsResult([], Counter({"held_out": 1}), held_out=[held_out], since=NOW)

    async def requests(self, ids: Sequence[str]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        for identifier in ids:
            yield identifier, {"messages": asked(identifier), "temperature": 0.5}

    async def prompts(self) -> AsyncIterator[AskedPrompt]:
        for number in range(2):
            yield AskedPrompt(
                f"p{number}", "shop", "c", "ann", NOW, {"messages": asked("Open?"), "top_p": 0.9}
            )


def label(number: int) -> Label:
    """A good or bad answer; two of three are answers to one request."""
    side = Side((f"l{number // 3}", number % 3), "words", (3, number), (9,))
    return Label(
        id=f"{number:024x}",
        tenant="shop",
        conversation=str(number),
        messages=asked(f"label question {number // 3}"),
        tools=None,
        side=side,
        good=number % 3 == 0,
        weight=0.5,
        signal="thumbs",
    )


async def frozen(
    folder: Path, count: int = 6, labels: int = 0, **settings: Any
) -> SnapshotManifest:
    return await freeze(folder, ABOUT, StubLog(count, labels=labels), RetrainConfig(**settings))


async def test_the_trainer_can_read_every_row(tmp_path: Path) -> None:
    await frozen(tmp_path / "snapshot")
    lines = (tmp_path / "snapshot" / PAIRS).read_bytes().splitlines()
    rows = [PairRow.model_validate_json(line) for line in lines]
    assert [row.chosen.token_ids for row in rows] == [[1, number] for number in range(6)]


async def test_the_manifest_counts_and_can_be_read_again(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path / "snapshot")
    assert manifest.pairs == 6
    assert manifest.pairs_by_signal == {"preference": 6}
    assert manifest.left_out == {"held_out": 12}
    assert (manifest.held_out, manifest.questions) == (2, 1)
    assert manifest.interactions == 40
    assert open_snapshot(tmp_path / "snapshot") == manifest


class AgedLog(StubLog):
    """Pairs that are so many days old."""

    def __init__(self, *days: int) -> None:
        super().__init__(0)
        self.days = days

    async def results(self) -> AsyncIterator[PairsResult]:
        for number, days in enumerate(self.days):
            aged = replace(pair(number), since=NOW - timedelta(days=days))
            yield PairsResult([aged], Counter())


@pytest.mark.parametrize(("days", "oldest"), [((3, 40, 2), 40), ((), 0)])
async def test_the_manifest_knows_how_old_its_texts_are(
    tmp_path: Path, days: tuple[int, ...], oldest: int
) -> None:
    manifest = await freeze(tmp_path / "snapshot", ABOUT, AgedLog(*days), RetrainConfig())
    assert manifest.oldest_text == NOW - timedelta(days=oldest)


async def test_questions_are_kept_as_keys(tmp_path: Path) -> None:
    await frozen(tmp_path / "snapshot")
    keys = {question_key(asked(f"question {number}")) for number in range(3)}
    assert read_question_keys(tmp_path / "snapshot") == keys


async def test_labels_their_requests_and_their_questions_come_back(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path / "snapshot", count=1, labels=6)
    labels = list(read_labels(tmp_path / "snapshot"))
    assert [(row.interaction_id, row.choice, row.label) for row in labels] == [
        (f"l{number // 3}", number % 3, number % 3 == 0) for number in range(6)
    ]
    assert {row.weight for row in labels} == {0.5}
    assert [found.interaction_id for found in read_requests(tmp_path / "snapshot")] == ["l0", "l1"]
    assert (manifest.labels, manifest.labels_up, manifest.labels_down) == (6, 2, 4)
    assert (manifest.labels_by_signal, manifest.requests) == ({"thumbs": 6}, 2)
    assert manifest.judgements == {"labels": 6}
    pairs_only = {question_key(asked("question 0"))}
    labelled = {question_key(asked(f"label question {number}")) for number in range(2)}
    assert read_question_keys(tmp_path / "snapshot") == pairs_only
    assert read_question_keys(tmp_path / "snapshot", labels=True) == pairs_only | labelled


async def test_no_more_labels_are_kept_than_the_settings_allow(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path / "snapshot", labels=30, max_labels=12)
    assert (manifest.labels, manifest.left_out["over_maximum"]) == (12, 18)
    assert len(list(read_labels(tmp_path / "snapshot"))) == 12
    none = await frozen(tmp_path / "none", labels=30, max_labels=0)
    assert (none.labels, none.requests) == (0, 0)


async def test_a_label_that_does_not_fit_the_trainer_is_counted(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path / "snapshot", 0, labels=4, hyper={"max_length": 2})
    assert (manifest.labels, manifest.label_misfits) == (0, {"too_long": 4})
    assert manifest.left_out["too_long"] == 4


async def test_a_snapshot_of_a_release_without_labels_still_opens(tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    await frozen(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in (LABELS, LABEL_QUESTIONS, REQUESTS, HELD_OUT_PAIRS, HELD_OUT_LABELS):
        (folder / name).unlink()
        del manifest["files"][name]
    kept = ("about", "pairs", "pairs_by_signal", "left_out", "held_out", "questions", "settings")
    old = {name: manifest[name] for name in (*kept, "files")}
    (folder / MANIFEST).write_text(json.dumps(old))
    assert open_snapshot(folder).labels == 0
    assert [*read_labels(folder), *read_requests(folder)] == []
    assert [*read_judged_pairs(folder), *read_judged_labels(folder)] == []
    assert len(read_question_keys(folder, labels=True)) == 3


async def test_the_mix_is_counted_before_and_after(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path / "snapshot", count=6, labels=3)
    assert sum(manifest.pairs_mix.before.topics) == sum(manifest.pairs_mix.after.topics) == 6
    assert sum(manifest.labels_mix.after.lengths.values()) == 3
    assert "question" not in manifest.pairs_mix.model_dump_json()


async def test_what_held_out_users_said_is_kept_apart(tmp_path: Path) -> None:
    answers = [replace(found, requester="held out") for found in THREE]
    words = [prefer(0, 0, 2), word(1, "thumbs", 1, True, rater="bob")]
    log = StubLog(0)
    log.held_out = pairs_of(conversation(answers, words), EVERYBODY, SERVED).held_out
    manifest = await freeze(tmp_path / "snapshot", ABOUT, log, RetrainConfig())
    assert (manifest.held_out_pairs, manifest.held_out_labels) == (1, 1)
    assert (manifest.pairs, manifest.labels, manifest.left_out) == (0, 0, {})
    (pair_,) = read_judged_pairs(tmp_path / "snapshot")
    (label_,) = read_judged_labels(tmp_path / "snapshot")
    assert [pair_, label_] == log.held_out


async def test_held_out_questions_come_back_whole(tmp_path: Path) -> None:
    await frozen(tmp_path / "snapshot")
    prompts = list(read_held_out(tmp_path / "snapshot"))
    assert [prompt.interaction_id for prompt in prompts] == ["p0", "p1"]
    assert prompts[0].request == {"messages": asked("Open?"), "top_p": 0.9}
    assert prompts[0].text_key == question_key(asked("Open?"))


async def test_a_sample_of_the_pairs_is_kept_and_the_rest_counted(tmp_path: Path) -> None:
    manifest = await frozen(tmp_path / "snapshot", count=50, max_pairs=20)
    assert manifest.pairs == 20
    assert manifest.left_out["over_maximum"] == 30


async def test_the_sample_depends_on_the_seed_alone(tmp_path: Path) -> None:
    first = await frozen(tmp_path / "a", count=50, max_pairs=20)
    again = await frozen(tmp_path / "b", count=50, max_pairs=20)
    other = await frozen(tmp_path / "c", count=50, max_pairs=20, seed=1)
    assert first.files == again.files
    assert first.files[PAIRS] != other.files[PAIRS]


@pytest.mark.parametrize("name", [PAIRS, LABELS, REQUESTS, HELD_OUT, QUESTIONS])
async def test_a_changed_file_is_found_out(tmp_path: Path, name: str) -> None:
    await frozen(tmp_path / "snapshot")
    with (tmp_path / "snapshot" / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(SnapshotError, match=name):
        open_snapshot(tmp_path / "snapshot")


@pytest.mark.parametrize("name", [PAIRS, LABELS, REQUESTS, HELD_OUT, QUESTIONS, MANIFEST])
async def test_a_missing_file_is_found_out(tmp_path: Path, name: str) -> None:
    await frozen(tmp_path / "snapshot")
    (tmp_path / "snapshot" / name).unlink()
    with pytest.raises(SnapshotError):
        open_snapshot(tmp_path / "snapshot")


def listed(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_snapshot_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"):
        await freeze(
            tmp_path / "snapshot", ABOUT, StubLog(3, OSError("the disk is full")), RetrainConfig()
        )
    assert listed(tmp_path) == []


async def test_the_texts_are_for_the_owner_only(tmp_path: Path) -> None:
    await frozen(tmp_path / "snapshot")
    assert (tmp_path / "snapshot").stat().st_mode & 0o077 == 0
    assert (tmp_path / "snapshot" / PAIRS).stat().st_mode & 0o077 == 0


async def test_the_manifest_holds_no_secret_of_the_judge(tmp_path: Path) -> None:
    judge = {"base_url": "http://judge/v1", "model": "m", "api_key": "very-secret"}
    await frozen(tmp_path / "snapshot", judge=judge)
    manifest = (tmp_path / "snapshot" / MANIFEST).read_text()
    assert "secret" not in manifest
    assert json.loads(manifest)["settings"]["minimum_pairs"] == 100


@given(st.none() | st.integers(0, 200), st.integers(1, 100))
def test_the_window_never_reaches_back_further_than_allowed(
    used_days_ago: int | None, max_days: int
) -> None:
    last = None if used_days_ago is None else NOW - timedelta(days=used_days_ago)
    start = window_start(last, NOW, max_days)
    assert start >= NOW - timedelta(days=max_days)
    assert last is None or start >= last
