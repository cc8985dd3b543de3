"""What JSON can say and nothing can carry: found without recursion, and told by its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.requests.json_values import lone_surrogate, nests_deeper, text_nests_deeper

pytestmark = pytest.mark.pure

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def depth(value: Any) -> int:
    """Levels of containers, by recursion."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + max((depth(inner) for inner in value), default=0)
    return 0


@given(JSON, st.integers(0, 6))
def test_nesting_is_counted_in_levels_of_containers(value: Any, levels: int) -> None:
    assert nests_deeper(value, levels) == (depth(value) > levels)


@given(JSON, st.integers(0, 6))
def test_nesting_in_a_text_is_that_of_what_it_says(value: Any, levels: int) -> None:
    assert text_nests_deeper(json.dumps(value), levels) == (depth(value) > levels)


@given(st.text(alphabet='[]{}"\\a,:', max_size=200))
def test_no_parser_meets_more_levels_than_were_counted(text: str) -> None:
    if not text_nests_deeper(text, 20):
        open_at_once = 0
        for prefix in range(len(text)):
            try:
                open_at_once = max(open_at_once, depth(json.loads(text[: prefix + 1])))
            except ValueError:
                continue
        assert open_at_once <= 20


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 900 + '"' + "]" * 900])
def test_what_would_end_a_recursive_parser_is_deep(text: str) -> None:
    assert text_nests_deeper(text)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"messages": [{"role": "user", "content": "a\ud83d"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "\ud83d": "a"}]}, "messages[0]"),
        ({"value": ["a", {"over": "\udfff"}]}, "value[1].over"),
        ({"tags": {"Anna": "\ud800"}}, "tags"),
        ({"Anna": "\ud800"}, None),
        ({"\ud800": 1}, None),
    ],
)
def test_a_lone_surrogate_is_placed_by_the_apis_words_only(value: Any, place: str | None) -> None:
    fault = lone_surrogate(json.dumps(value).encode())
    assert fault is not None
    assert fault.place == place
    assert "Anna" not in fault.why


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "\\ud83d\\ude00"',
        b'{"a": "\\ud83d\\ude00", "b": NaN}',
        b"[" * 9000 + b'"\\ud800"',
        b"{}",
    ],
)
def test_what_is_wrong_in_another_way_is_no_surrogate(body: bytes) -> None:
    assert lone_surrogate(body) is None
