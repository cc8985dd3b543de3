"""Which slots may be run again."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.errors import SlotFinishedError, SlotTakenError
from retrain.slots import FINISHED, is_taken, next_attempt

pytestmark = pytest.mark.pure

STATES = st.sampled_from([*FINISHED, "running", "failed", "skipped", "cancelled"])


@dataclass
class Attempt:
    attempt: int
    state: str


ATTEMPTS = st.lists(st.builds(Attempt, st.integers(0, 5), STATES), max_size=4)


@pytest.mark.parametrize("state", FINISHED)
def test_a_slot_with_a_verdict_is_not_run_again(state: str) -> None:
    with pytest.raises(SlotFinishedError, match="wait for the next week"):
        next_attempt("2026-w47", [Attempt(0, state)], scheduled=False)


@pytest.mark.parametrize("state", ["failed", "skipped", "cancelled"])
def test_a_slot_without_a_verdict_may_be_run_by_hand(state: str) -> None:
    assert next_attempt("2026-w47", [Attempt(0, state), Attempt(2, state)], scheduled=False) == 3


@given(ATTEMPTS)
def test_the_schedule_starts_a_slot_once(attempts: list[Attempt]) -> None:
    if is_taken(attempts):
        with pytest.raises(SlotTakenError):
            next_attempt("2026-w47", attempts, scheduled=True)
    else:
        assert next_attempt("2026-w47", attempts, scheduled=True) == 0
