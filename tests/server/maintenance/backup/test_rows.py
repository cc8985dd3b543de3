"""Rows as lines: what is read is what was written."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.maintenance.backup.manifest import Kind
from server.maintenance.backup.rows import decoder, encoder

pytestmark = pytest.mark.pure

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
values: dict[Kind, st.SearchStrategy[Any]] = {
    "plain": st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    "time": st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
    "bytes": st.one_of(st.none(), st.binary()),
    "json": st.one_of(st.none(), texts),
}
kinds = st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=6)


@given(st.data())
def test_a_row_is_the_same_after_its_line(data: st.DataObject) -> None:
    columns: list[Kind] = data.draw(kinds)
    row = [data.draw(values[kind]) for kind in columns]
    line = encoder(columns)(row)
    assert line.count(b"\n") == 1
    assert decoder(columns)(line) == row


@given(st.datetimes())
def test_a_time_without_a_zone_is_in_utc(moment: datetime) -> None:
    assert decoder(["time"])(encoder(["time"])([moment])) == [moment.replace(tzinfo=UTC)]


def test_a_time_of_another_zone_is_told_in_utc() -> None:
    there = datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=5)))
    assert encoder(["time"])([there]) == b'["2026-11-21T07:00:00+00:00"]\n'


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"[1, 2, 3]", b"not json"])
def test_another_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="line"):
        decoder(["plain", "plain"])(line)
