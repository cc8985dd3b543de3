"""Which values of a custom metric call an answer good or bad."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.config import MetricConfig
from feedback.metrics.verdict import verdict_of

pytestmark = pytest.mark.pure

ANYTHING = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.booleans())
)


def metric(**settings: Any) -> MetricConfig:
    return MetricConfig.model_validate(settings)


@pytest.mark.parametrize("value", [True, False])
def test_the_direction_says_which_boolean_is_good(value: bool) -> None:
    assert verdict_of(metric(type="boolean"), value) is value
    assert verdict_of(metric(type="boolean", direction="lower"), value) is not value


@pytest.mark.parametrize(
    ("direction", "good", "bad", "expected"),
    [
        ("higher", 0.8, 0.2, {0.0: False, 0.2: False, 0.5: None, 0.8: True, 1: True}),
        ("lower", 10, 60, {0: True, 10: True, 30: None, 60: False, 90.5: False}),
        ("higher", 0.8, None, {0.0: None, 0.8: True}),
        ("lower", None, 60, {0: None, 60: False}),
        ("higher", None, None, {0: None, 1: None}),
    ],
)
def test_a_number_says_something_at_its_thresholds_and_beyond(
    direction: str, good: float | None, bad: float | None, expected: dict[float, bool | None]
) -> None:
    config = metric(type="number", direction=direction, good=good, bad=bad)
    assert {value: verdict_of(config, value) for value in expected} == expected


def test_a_category_says_what_its_values_are_named_for() -> None:
    config = metric(
        type="category", values=["kind", "cold", "plain"], good_values=["kind"], bad_values=["cold"]
    )
    found = {value: verdict_of(config, value) for value in config.values}
    assert found == {"kind": True, "cold": False, "plain": None}


def test_a_text_says_nothing() -> None:
    assert verdict_of(metric(type="text"), "good") is None


@given(ANYTHING)
def test_a_value_of_another_type_says_nothing(value: Any) -> None:
    number = verdict_of(metric(type="number", good=1, bad=0), value)
    boolean = verdict_of(metric(type="boolean"), value)
    assert number is None or (isinstance(value, int | float) and not isinstance(value, bool))
    assert (boolean is None) is not isinstance(value, bool)


@given(st.floats(), st.floats(-9, 9), st.sampled_from(["higher", "lower"]))
def test_a_better_number_is_never_called_worse(value: float, step: float, direction: str) -> None:
    sign = 1 if direction == "higher" else -1
    config = metric(type="number", direction=direction, good=sign * 1.0, bad=sign * -1.0)
    better = value + sign * abs(step)
    order = {False: 0, None: 1, True: 2}
    if value == value and better == better:  # noqa: PLR0124  (not NaN)
        assert order[verdict_of(config, better)] >= order[verdict_of(config, value)]
