import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrain.trainer.errors import JobError
from retrain.trainer.examples.data import Example, prepare, unfit
from retrain.trainer.examples.prepared import Bounds
from retrain.trainer.examples.rows import PairRow
from retrain.trainer.examples.tokenizer import RenderingError

IDS = st.lists(st.integers(0, 99), min_size=1, max_size=8)


def row(**fields: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "prompt_token_ids": [1, 2],
        "chosen": {"token_ids": [3, 9]},
        "rejected": {"token_ids": [4, 9]},
        "signal": "preference",
    } | fields


def render(text: str, row: PairRow) -> list[int]:
    if not text:
        raise RenderingError("unrenderable")
    return [len(text), 9]


def read(folder: Path, *rows: dict[str, Any], max_length: int = 10) -> Any:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return prepare(path, render, Bounds(max_length, 100))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=IDS, chosen=IDS, rejected=IDS)
def test_served_ids_pass_through_unchanged(
    tmp_path: Path, prompt: list[int], chosen: list[int], rejected: list[int]
) -> None:
    answers = {"chosen": {"token_ids": [*chosen, 1]}, "rejected": {"token_ids": [*rejected, 2]}}
    given_row = row(prompt_token_ids=prompt, **answers)
    (example,) = read(tmp_path, given_row, max_length=99).examples
    assert example["prompt_ids"] == prompt
    assert example["chosen_ids"] == [*chosen, 1]
    assert example["rejected_ids"] == [*rejected, 2]


def test_only_a_text_is_rendered(tmp_path: Path) -> None:
    demonstration = row(chosen={"text": "seven.."}, signal="demonstration")
    (example,) = read(tmp_path, demonstration).examples
    assert example["chosen_ids"] == [7, 9]
    assert example["prompt_ids"] == [1, 2]


def test_what_is_dropped_is_counted_by_reason(tmp_path: Path) -> None:
    prepared = read(
        tmp_path,
        row(),
        row(prompt_token_ids=[1] * 9),
        row(rejected={"token_ids": [3, 9]}),
        row(chosen={"token_ids": []}),
        row(weight=0),
        row(chosen={"text": ""}, signal="demonstration"),
    )
    assert prepared.dropped == {
        "too_long": 1,
        "identical": 1,
        "empty": 1,
        "weightless": 1,
        "unrenderable": 1,
    }
    assert prepared.signals == {"preference": 1}


@given(prompt=IDS, chosen=IDS, rejected=IDS, limit=st.integers(2, 20))
def test_an_example_that_fits_is_never_over_the_limit(
    prompt: list[int], chosen: list[int], rejected: list[int], limit: int
) -> None:
    example = Example(prompt_ids=prompt, chosen_ids=chosen, rejected_ids=rejected, weight=1.0)
    longest = len(prompt) + max(len(chosen), len(rejected))
    assert (unfit(example, limit) == "too_long") == (chosen != rejected and longest > limit)


def test_a_broken_row_is_named_by_line_and_field_without_its_text(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"line 2 .*signal") as caught:
        read(tmp_path, row(), row(signal="somebody's secret"))
    assert "secret" not in str(caught.value)


def test_a_row_needs_ids_or_text(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"line 1 .*chosen"):
        read(tmp_path, row(chosen={}))


def test_ids_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="another base model"):
        read(tmp_path, row(chosen={"token_ids": [100]}))


def test_nothing_to_train_on_is_an_error_with_its_counts(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="weightless"):
        read(tmp_path, row(weight=0))
