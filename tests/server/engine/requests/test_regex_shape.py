"""What a pattern's text says of how much it repeats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.requests.regex_shape import RegexShape, regex_shape


@pytest.mark.parametrize(
    ("pattern", "shape"),
    [
        ("", RegexShape(0, 0, 0)),
        ("abc", RegexShape(0, 0, 3)),
        ("((a+)+)+", RegexShape(3, 3, 1)),
        ("(ab){3}", RegexShape(1, 1, 6)),
        ("(a{1,99}){1,99}", RegexShape(2, 2, 99 * 99)),
        ("a{3}{4}", RegexShape(2, 2, 12)),
        ("(?:a|b|ab)*", RegexShape(1, 1, 4)),
        ("(?<name>a+)+", RegexShape(2, 2, 1)),
        ("a??b*?", RegexShape(2, 1, 2)),
        ("a{2,}", RegexShape(1, 1, 2)),
        ("a{,70}", RegexShape(1, 1, 70)),
        (r"\(a+\)", RegexShape(1, 1, 3)),
        ("[)(+]*", RegexShape(1, 1, 1)),
        ("((((", RegexShape(0, 0, 0)),
        ("))a+", RegexShape(1, 1, 1)),
        ("[abc", RegexShape(0, 0, 1)),
        ("[](a+)+]*", RegexShape(3, 2, 3)),
    ],
)
def test_a_pattern_is_measured(pattern: str, shape: RegexShape) -> None:
    assert regex_shape(pattern) == shape


def test_a_size_beyond_all_bounds_stays_a_small_number() -> None:
    size = regex_shape("(" * 400 + "a" + "{999999999999999999}" * 1 + "){99}" * 400).size
    assert size == 10**12


@given(st.text(alphabet="ab()[]{}*+?|\\^,123:=!<>"))
def test_any_text_is_measured(pattern: str) -> None:
    shape = regex_shape(pattern)
    assert 0 <= shape.depth <= shape.quantifiers <= len(pattern)


@given(st.integers(1, 30), st.integers(1, 30))
def test_repetitions_multiply(inner: int, outer: int) -> None:
    assert regex_shape(f"(a{{{inner}}}){{{outer}}}").size == inner * outer
