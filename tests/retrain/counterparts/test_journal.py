"""A file of rows that survives the death of the process that writes it."""

from pathlib import Path

import pytest

from retrain.counterparts.journal import Journal
from retrain.counterparts.rows import JudgedQuestion

pytestmark = pytest.mark.pure


def row(name: str) -> JudgedQuestion:
    return JudgedQuestion(id=name, judge="\u2028\r judge", preferences=[0.5, None])


def journal(folder: Path) -> Journal[JudgedQuestion]:
    return Journal(folder / "verdicts.jsonl", JudgedQuestion)


def test_a_new_journal_is_empty(tmp_path: Path) -> None:
    assert journal(tmp_path).open() == []


def test_rows_are_read_back_in_order(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.open()
    first.append([row("a"), row("b")])
    first.append([row("c")])
    assert journal(tmp_path).open() == [row("a"), row("b"), row("c")]


@pytest.mark.parametrize("cut", [1, 10])
def test_a_row_that_was_being_written_is_removed(tmp_path: Path, cut: int) -> None:
    first = journal(tmp_path)
    first.open()
    first.append([row("a"), row("b")])
    first.path.write_bytes(first.path.read_bytes()[:-cut])
    again = journal(tmp_path)
    assert again.open() == [row("a")]
    again.append([row("c")])
    assert journal(tmp_path).open() == [row("a"), row("c")]


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    journal(tmp_path).open()
    assert (tmp_path / "verdicts.jsonl").stat().st_mode & 0o777 == 0o600
