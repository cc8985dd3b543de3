"""Blind comparisons: whatever version answered, an undecided side looks the same."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from feedback.schemas import InteractionOut
from feedback.visibility import visibility

versions = st.sampled_from(["base", "2026-w47-3f9c1a", "2026-w48-aaaaaa"]) | st.text(min_size=1)
seconds = st.none() | st.floats(0, 1e6)
comparisons = st.text(min_size=1)
told_of_the_version = st.fixed_dictionaries(
    {
        "version": versions,
        "comparison": comparisons,
        "first_token_seconds": seconds,
        "duration_seconds": seconds,
    }
)


def interaction(fields: dict[str, Any]) -> InteractionOut:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    return InteractionOut(
        id="chatcmpl-1",
        received_at=now,
        channel="pawl",
        endpoint="chat",
        mode="live",
        role="comparison",
        model=f"pawl@{fields['version']}",
        user="ada",
        parent=None,
        run_id=None,
        request={},
        texts_removed_at=None,
        prompt_tokens=1,
        completion_tokens=1,
        status="complete",
        error=None,
        choices=(),
        feedback=(),
        **fields,
    )


@given(told_of_the_version, told_of_the_version)
def test_two_undecided_sides_cannot_be_told_apart(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    blind = visibility(one["comparison"])
    assert blind.interaction(interaction(one)) == blind.interaction(interaction(other))
    assert blind.version(one["version"]) == blind.version(other["version"])
    labels = [f"pawl@{side['version']}" for side in (one, other)]
    assert blind.model("pawl", labels[0]) == blind.model("pawl", labels[1])
    headers = [{"x-pawl-version": side["version"]} for side in (one, other)]
    assert blind.headers(headers[0]) == blind.headers(headers[1])


@given(told_of_the_version, st.booleans())
def test_what_is_decided_or_no_side_is_shown_whole(side: dict[str, Any], decided: bool) -> None:
    comparison = side["comparison"] if decided else None
    shown = interaction({**side, "comparison": comparison})
    told = visibility(comparison, decided=decided)
    assert told.interaction(shown) == shown
    assert told.version(side["version"]) == side["version"]
    assert told.model("pawl", shown.model) == shown.model
    headers = {"x-pawl-version": side["version"]}
    assert told.headers(headers) == headers


@given(told_of_the_version)
def test_a_blind_side_keeps_what_tells_no_version(side: dict[str, Any]) -> None:
    shown = interaction(side)
    changed = {"model", "version", "comparison", "first_token_seconds", "duration_seconds"}
    blind = visibility(side["comparison"]).interaction(shown)
    assert blind.model_dump(exclude=changed) == shown.model_dump(exclude=changed)
