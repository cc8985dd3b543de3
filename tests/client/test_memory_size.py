"""How much memory plain data holds."""

from sys import getsizeof
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pawl_client.memory_size import memory_of

pytestmark = pytest.mark.pure

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_texts_count_wherever_they_are() -> None:
    text = "x" * 10_000
    for value in (text, [text], {"a": text}, {"a": [{"b": (text,)}]}, {text: 1}):
        assert 10_000 < memory_of(value) < 12_000


@given(JSON)
def test_it_is_never_less_than_the_value_itself(value: Any) -> None:
    assert memory_of(value) >= getsizeof(value)


def test_what_holds_itself_comes_to_an_end() -> None:
    endless: list[Any] = ["x"]
    endless.append(endless)
    assert memory_of(endless) < 1000


def test_other_objects_are_not_looked_into() -> None:
    class Client:
        def __init__(self) -> None:
            self.text = "x" * 10_000

    assert memory_of({"client": Client()}) < 1000
