"""Which slots may be run again."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.errors import SlotFinishedError, SlotTakenError
from retrain.slots import EVIDENCE, FINISHED, MANUAL, SCHEDULED, is_taken, next_attempt

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
        next_attempt("2026-w47", [Attempt(0, state)], MANUAL)


@pytest.mark.parametrize("state", ["failed", "skipped", "cancelled"])
def test_a_slot_without_a_verdict_may_be_run_by_hand(state: str) -> None:
    assert next_attempt("2026-w47", [Attempt(0, state), Attempt(2, state)], MANUAL) == 3


@given(ATTEMPTS)
def test_the_schedule_starts_a_slot_once(attempts: list[Attempt]) -> None:
    if is_taken(attempts):
        with pytest.raises(SlotTakenError):
            next_attempt("2026-w47", attempts, SCHEDULED)
    else:
        assert next_attempt("2026-w47", attempts, SCHEDULED) == 0


@given(ATTEMPTS, st.sampled_from([EVIDENCE, MANUAL]))
def test_where_runs_start_on_feedback_a_week_has_any_number_of_verdicts(
    attempts: list[Attempt], trigger: str
) -> None:
    number = next_attempt("2026-w47", attempts, trigger, several=True)
    assert number > max((run.attempt for run in attempts), default=0)


@given(ATTEMPTS)
def test_where_runs_start_on_feedback_the_weekly_slot_is_still_run(
    attempts: list[Attempt],
) -> None:
    scheduled = any(run.attempt == 0 for run in attempts)
    assert is_taken(attempts, several=True) == scheduled
