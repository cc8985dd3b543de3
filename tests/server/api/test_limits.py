"""Limits: refused before the engine, by field, never by value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.limits import check_limits
from server.config import LimitsConfig
from server.errors import LimitError

pytestmark = pytest.mark.pure

LIMITS = LimitsConfig()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 9),
        ("n", 0),
        ("n", "many"),
        ("n", True),
        ("top_logprobs", 21),
        ("prompt_logprobs", 21),
        ("logprobs", 21),
        ("use_beam_search", True),
        ("best_of", 4),
        ("priority", -100),
        ("priority", 0),
        ("prompt", ["a", "b"]),
        ("prompt", [[1, 2], [3]]),
        ("prompt", []),
    ],
)
def test_what_is_too_much_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    with pytest.raises(LimitError) as caught:
        check_limits({"model": "pawl", field: value}, LIMITS)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"n": 8, "top_logprobs": 20, "logprobs": True},
        {"prompt": "one"},
        {"prompt": [1, 2, 3]},
        {"logprobs": 5},
        {"best_of": 1, "use_beam_search": False},
    ],
)
def test_what_is_allowed_passes(body: dict[str, Any]) -> None:
    check_limits(body, LIMITS)


@given(secret=st.text(min_size=12), field=st.sampled_from(["n", "top_logprobs", "best_of"]))
def test_no_value_is_echoed(secret: str, field: str) -> None:
    with pytest.raises(LimitError) as caught:
        check_limits({field: secret}, LIMITS)
    assert secret not in str(caught.value)
