"""Which version is blamed for an answer without finite logits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.nan_alarm import NanAlarm, blamed

pytestmark = pytest.mark.anyio

VERSIONS = st.sampled_from(["base", "a", "b", "c"])


@pytest.mark.parametrize(
    ("first", "begun", "finite", "expected"),
    [
        ("a", {"a"}, set(), {"a"}),
        ("a", {"a", "b"}, {"b"}, {"a"}),
        ("a", {"a", "b"}, set(), {"a"}),
        ("base", {"a", "base"}, {"base"}, {"a"}),
        ("b", {"a", "b"}, {"b"}, {"a"}),
        ("b", {"b"}, {"b"}, {"b"}),
        ("base", {"base"}, set(), set()),
        ("base", {"a", "base"}, {"a"}, set()),
    ],
)
def test_the_version_that_never_answered_is_blamed(
    first: str, begun: set[str], finite: set[str], expected: set[str]
) -> None:
    assert blamed(first, begun, finite) == expected


@given(VERSIONS, st.sets(VERSIONS), st.sets(VERSIONS))
def test_only_versions_that_were_asked_are_blamed_and_never_the_base_model(
    first: str, begun: set[str], finite: set[str]
) -> None:
    assert blamed(first, begun | {first}, finite) <= (begun | {first}) - {"base"}


async def test_the_first_answer_without_finite_logits_raises_it() -> None:
    alarm = NanAlarm()
    for version in ("good", "bad"):
        alarm.began(version)
    alarm.finite("good")
    assert not alarm.is_raised
    alarm.not_finite("bad")
    alarm.not_finite("good")
    assert alarm.is_raised
    assert await alarm.wait() == {"bad"}
