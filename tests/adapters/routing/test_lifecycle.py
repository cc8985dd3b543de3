"""The states of a version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import TransitionError
from adapters.routing.lifecycle import (
    ADDRESSABLE,
    ENDED,
    NEXT,
    RESIDENT,
    State,
    check_transition,
    lineage,
)

pytestmark = pytest.mark.pure

STATES = st.sampled_from(State)


@given(STATES, STATES)
def test_a_transition_is_allowed_or_says_what_to_do(state: State, wanted: State) -> None:
    if wanted in NEXT[state]:
        check_transition("import-abcdef", state, wanted)
        return
    with pytest.raises(TransitionError, match="import-abcdef is"):
        check_transition("import-abcdef", state, wanted)


@pytest.mark.parametrize("state", sorted(ENDED))
def test_nothing_follows_an_end(state: State) -> None:
    assert not NEXT[state]


@pytest.mark.parametrize("state", sorted(ADDRESSABLE))
def test_another_base_model_ends_whatever_may_answer(state: State) -> None:
    assert State.INCOMPATIBLE in NEXT[state]


def test_what_may_answer_and_what_has_ended_are_apart() -> None:
    assert RESIDENT < ADDRESSABLE
    assert set(State) == ADDRESSABLE | ENDED | {State.INCOMPATIBLE}


def test_a_rejected_version_comes_from_no_users() -> None:
    before = {state for state in State if State.REJECTED in NEXT[state]}
    assert before == {State.CANDIDATE, State.SHADOW}


@given(st.dictionaries(st.integers(0, 9).map(str), st.none() | st.integers(0, 9).map(str)))
def test_a_lineage_ends_whatever_the_parents_are(parents: dict[str, str | None]) -> None:
    for version in parents:
        line = lineage(version, parents)
        assert line[0] == version
        assert len(line) == len(set(line))
