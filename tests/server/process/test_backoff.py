"""The pauses between restarts double up to a bound; a proven life makes them small again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.process.backoff import LONGEST_SECONDS, Backoff

pytestmark = pytest.mark.pure

SECONDS = st.floats(0, 1e4)


@given(first=SECONDS, deaths=st.integers(1, 10_000))
def test_no_pause_is_longer_than_the_bound(first: float, deaths: int) -> None:
    assert Backoff(first, 60).pause(deaths) <= max(first, LONGEST_SECONDS)


@given(first=SECONDS)
def test_pauses_double_until_the_bound(first: float) -> None:
    pauses = [Backoff(first, 60).pause(deaths) for deaths in range(1, 20)]
    bound = max(first, LONGEST_SECONDS)
    assert pauses[0] == first
    assert pauses[-1] == bound
    assert all(later == min(2 * earlier, bound) for earlier, later in pairwise(pauses[1:]))


def test_a_crash_loop_without_a_first_pause_pauses_all_the_same() -> None:
    assert [Backoff(0, 60).pause(deaths) for deaths in (1, 2, 3)] == [0, 1, 2]


@given(before=st.integers(0, 100), served=SECONDS, proven=SECONDS)
def test_only_a_proven_life_begins_anew(before: int, served: float, proven: float) -> None:
    deaths = Backoff(1, proven).deaths(before, served)
    assert deaths == (1 if served >= proven else before + 1)
