"""The frozen training set: what it takes from where, and that it is the same each time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.config import RetrainConfig
from retrain.dataset.snapshot import About, SnapshotManifest
from retrain.dataset.training_set.assembly import LABELS, PAIRS, EarlierPairs, Sources
from retrain.dataset.training_set.files import (
    TrainingManifest,
    freeze_training_set,
    open_training_set,
)
from retrain.dataset.training_set.shares import admitted, drawn
from retrain.errors import SnapshotError
from retrain.trainer.examples.rows import CompletionRow, LabelRow, Origin, PairRow, Signal

pytestmark = pytest.mark.pure

NOW = datetime(2026, 11, 21, tzinfo=UTC)
MONTH = timedelta(days=30)


def pair(number: int, *, origin: Origin = "people", signal: Signal = "preference") -> PairRow:
    return PairRow(
        id=f"{origin}-{number}",
        prompt_token_ids=[1, number],
        chosen=CompletionRow(token_ids=[2, number]),
        rejected=CompletionRow(token_ids=[3, number]),
        signal=signal,
        origin=origin,
    )


def label(number: int, *, good: bool, answer: int = 4) -> LabelRow:
    return LabelRow(
        id=f"label-{number}",
        interaction_id=f"chatcmpl-{number}",
        choice=0,
        prompt_token_ids=[1, number],
        completion=CompletionRow(token_ids=[answer, number]),
        label=good,
        signal="thumbs",
    )


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return path


def manifest_of(pairs: int) -> SnapshotManifest:
    about = About(
        run="run",
        channel="pawl",
        tenants=None,
        since=NOW - MONTH,
        asked_since=NOW - MONTH,
        cut_off=NOW,
        base_model="tiny",
        base_fingerprint="f",
        parent=None,
    )
    return SnapshotManifest(
        about=about,
        pairs=pairs,
        pairs_by_signal={},
        left_out={},
        held_out=0,
        questions=0,
        settings={},
        files={},
        oldest_text=NOW,
    )


def frozen(
    folder: Path,
    pairs: list[PairRow],
    labels: list[LabelRow] | None = None,
    made: list[PairRow] | None = None,
    earlier: list[PairRow] | None = None,
    **settings: Any,
) -> TrainingManifest:
    """Freeze a training set into `folder/training`."""
    write(folder / "snapshot" / PAIRS, pairs)
    if labels is not None:
        write(folder / "snapshot" / LABELS, labels)
    before = (
        [EarlierPairs(write(folder / "before" / PAIRS, earlier), NOW - MONTH)] if earlier else []
    )
    sources = Sources(
        snapshot=folder / "snapshot",
        manifest=manifest_of(len(pairs)),
        made=write(folder / "made" / PAIRS, made) if made is not None else None,
        earlier=before,
        missing=1,
    )
    config = RetrainConfig.model_validate({"minimum_pairs": 4, **settings})
    return freeze_training_set(folder / "training", sources, config, judged=False)


def rows_of(folder: Path) -> list[PairRow]:
    lines = (folder / "training" / PAIRS).read_bytes().splitlines()
    return [PairRow.model_validate_json(line) for line in lines]


def test_pairs_of_the_snapshot_are_taken_byte_by_byte(tmp_path: Path) -> None:
    manifest = frozen(tmp_path, [pair(n) for n in range(5)])
    training = (tmp_path / "training" / PAIRS).read_bytes()
    assert training == (tmp_path / "snapshot" / PAIRS).read_bytes()
    assert manifest.pairs_by_origin == {"people": 5}
    assert [stage.method for stage in manifest.plan.stages] == ["dpo"]
    assert open_training_set(tmp_path / "training") == manifest


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    made = [pair(n, origin="counterpart") for n in range(8)]
    earlier = [pair(n) for n in range(50, 80)]
    seen = set()
    for name in ("a", "b"):
        shares: dict[str, Any] = {"counterparts": {"share": 0.5}, "replay_share": 0.25}
        manifest = frozen(
            tmp_path / name, [pair(n) for n in range(5)], made=made, earlier=earlier, **shares
        )
        seen.add(manifest.model_dump_json())
    assert len(seen) == 1


def test_counterparts_are_capped_at_their_share(tmp_path: Path) -> None:
    made = [pair(n, origin="counterpart") for n in range(20)]
    settings: dict[str, Any] = {"counterparts": {"share": 0.5}}
    manifest = frozen(tmp_path, [pair(n) for n in range(6)], made=made, **settings)
    assert manifest.pairs_by_origin == {"people": 6, "counterpart": 6}
    assert manifest.left_out["counterpart_over_share"] == 14


def test_counterparts_alone_are_trained_on_where_their_share_is_not_limited(
    tmp_path: Path,
) -> None:
    manifest = frozen(tmp_path, [], made=[pair(n, origin="counterpart") for n in range(4)])
    assert manifest.pairs_by_origin == {"counterpart": 4}
    assert manifest.plan.stages


def test_earlier_pairs_are_replayed_up_to_their_share_and_marked(tmp_path: Path) -> None:
    earlier = [pair(n) for n in range(50, 80)] + [pair(90, origin="replay"), pair(0)]
    manifest = frozen(tmp_path, [pair(n) for n in range(9)], earlier=earlier, replay_share=0.1)
    assert manifest.pairs_by_origin == {"people": 9, "replay": 1}
    assert rows_of(tmp_path)[-1].origin == "replay"
    assert rows_of(tmp_path)[-1].id in {pair(n).id for n in range(50, 80)}
    assert manifest.left_out["earlier_runs_not_here"] == 1
    assert manifest.oldest_text == NOW - MONTH


def test_earlier_pairs_do_not_make_up_for_too_few_new_ones(tmp_path: Path) -> None:
    manifest = frozen(tmp_path, [pair(1)], earlier=[pair(n) for n in range(50, 80)])
    assert manifest.plan.stages == ()
    assert manifest.pairs_by_origin == {"people": 1}


def test_a_label_whose_answer_is_in_a_pair_is_left_out(tmp_path: Path) -> None:
    labels = [label(1, good=True, answer=2), label(2, good=True), label(3, good=False)]
    manifest = frozen(tmp_path, [pair(n) for n in range(5)], labels)
    assert (manifest.labels_up, manifest.labels_down) == (1, 1)
    assert manifest.left_out["in_a_pair"] == 1


def test_labels_without_pairs_are_planned_for_kto(tmp_path: Path) -> None:
    labels = [label(n, good=n % 2 == 0) for n in range(6)]
    manifest = frozen(tmp_path, [pair(20)], labels, minimum_labels=6)
    (stage,) = manifest.plan.stages
    assert (stage.method, stage.rows, stage.unpaired) == ("kto", 8, True)


@pytest.mark.parametrize("spoilt", [PAIRS, LABELS, "manifest.json"])
def test_a_set_that_was_changed_is_not_used(tmp_path: Path, spoilt: str) -> None:
    frozen(tmp_path, [pair(n) for n in range(5)])
    with (tmp_path / "training" / spoilt).open("ab") as file:
        file.write(b"{")
    with pytest.raises(SnapshotError):
        open_training_set(tmp_path / "training")


@given(
    found=st.integers(0, 500),
    others=st.integers(0, 500),
    share=st.floats(0, 1),
    room=st.integers(0, 500),
)
def test_a_share_is_never_exceeded(found: int, others: int, share: float, room: int) -> None:
    taken = admitted(found, others, share, room)
    assert 0 <= taken <= min(found, room)
    assert taken <= share * (taken + others) + 1e-6


@given(ids=st.sets(st.text(), max_size=30), count=st.integers(0, 30), seed=st.integers(0, 9))
def test_a_draw_does_not_depend_on_the_order(ids: set[str], count: int, seed: int) -> None:
    once = drawn(sorted(ids), count, seed)
    assert once == drawn(sorted(ids, reverse=True), count, seed)
    assert once <= ids
    assert len(once) == min(count, len(ids))
