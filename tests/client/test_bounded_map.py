"""A map that forgets what is oldest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pawl_client.bounded_map import BoundedMap

pytestmark = pytest.mark.pure


def test_the_oldest_goes_when_there_are_too_many() -> None:
    recent: BoundedMap[str, int] = BoundedMap(2)
    assert [recent.put(key, 0) for key in ("a", "b", "a", "c")] == [0, 0, 0, 1]
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (0, None, 0)


def test_the_oldest_go_when_they_weigh_too_much() -> None:
    recent: BoundedMap[str, int] = BoundedMap(10, weight_max=10, weigh=int)
    assert [recent.put("a", 4), recent.put("b", 4), recent.put("c", 9)] == [0, 0, 2]
    assert len(recent) == 1


def test_what_is_too_heavy_by_itself_is_forgotten_at_once() -> None:
    recent: BoundedMap[str, int] = BoundedMap(10, weight_max=10, weigh=int)
    assert recent.put("a", 11) == 1
    assert len(recent) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6))))
def test_never_more_than_the_limits(puts: list[tuple[int, int]]) -> None:
    recent: BoundedMap[int, int] = BoundedMap(3, weight_max=10, weigh=int)
    for key, weight in puts:
        recent.put(key, weight)
        held = [recent.get(one) or 0 for one in range(6)]
        assert sum(held) <= 10
        assert len(recent) == len([weight for weight in held if weight]) <= 3
        assert recent.get(key) == weight


@pytest.mark.timeout(10)
def test_a_put_in_the_midst_of_a_put_does_not_wait_for_itself() -> None:
    """As when the garbage collector ends an abandoned stream just then."""

    def weigh(value: int) -> int:
        if value == 1 and recent.get("inner") is None:
            recent.put("inner", 2)
        return 0

    recent: BoundedMap[str, int] = BoundedMap(10, weigh=weigh)
    recent.put("outer", 1)
    assert (recent.get("outer"), recent.get("inner")) == (1, 2)
