"""What a wallet of alpha pays out, whatever the starts and the clocks are."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.gates.budget import SHARE, YEAR, Budget, Spending

pytestmark = pytest.mark.pure

BUDGET = Budget(0.05)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
Times = list[tuple[timedelta, timedelta, timedelta]]
EVER = 1.0
"""No limit other than the wallet's."""

# Half of the starts and ends are minutes apart, so that bursts meet long pauses.
SPANS = st.one_of(
    st.timedeltas(timedelta(0), timedelta(minutes=5)), st.timedeltas(timedelta(0), YEAR)
)
CLOCKS = st.one_of(st.just(timedelta(0)), st.timedeltas(-YEAR, YEAR))


def paid_out(
    times: Times,
) -> list[tuple[datetime, Spending]]:
    """Tests one after the other: pause, duration and error of the clock at the start of each."""
    now = BEGIN
    spent: list[tuple[datetime, Spending]] = []
    for pause, duration, wrong in times:
        start = now + pause + wrong
        alpha = BUDGET.grant([one for _, one in spent], start, EVER)
        spent.append((start, Spending(alpha, start + duration)))
        now += pause + duration
    return spent


def highest_in_a_year(dated: list[tuple[datetime, float]]) -> float:
    return max(
        sum(alpha for at, alpha in dated if begin <= at <= begin + YEAR) for begin, _ in dated
    )


@given(st.lists(st.tuples(SPANS, SPANS, CLOCKS), min_size=1, max_size=30))
def test_no_window_of_a_year_holds_more_than_the_budget(
    times: Times,
) -> None:
    spent = paid_out(times)
    assert highest_in_a_year([(start, one.alpha) for start, one in spent]) <= 0.05 * (1 + 1e-9)
    promoted = [(one.at, one.alpha) for _, one in spent if one.at is not None]
    assert highest_in_a_year(promoted) <= 0.05 * (1 + 1e-9)


@given(st.lists(st.tuples(SPANS, SPANS, CLOCKS), min_size=1, max_size=30), st.randoms())
def test_the_order_of_the_rows_does_not_matter(times: Times, random: Random) -> None:
    spent = [one for _, one in paid_out(times)]
    shuffled = spent.copy()
    random.shuffle(shuffled)
    now = BEGIN + YEAR
    assert BUDGET.wallet(spent, now) == pytest.approx(BUDGET.wallet(shuffled, now))


@given(st.lists(st.tuples(SPANS, SPANS, CLOCKS), max_size=30), st.timedeltas(-YEAR, 3 * YEAR))
def test_the_wallet_is_never_overdrawn_nor_overfull(times: Times, later: timedelta) -> None:
    spent = [one for _, one in paid_out(times)]
    assert 0 <= BUDGET.wallet(spent, BEGIN + later) <= BUDGET.cap


def test_an_untouched_wallet_is_full() -> None:
    assert BUDGET.wallet([], BEGIN) == BUDGET.cap == pytest.approx(0.02)
    assert BUDGET.grant([], BEGIN, EVER) == pytest.approx(SHARE * 0.02)


def test_a_grant_is_at_most_what_the_settings_allow() -> None:
    assert BUDGET.grant([], BEGIN, 0.001) == 0.001


def test_an_open_test_counts_as_of_now() -> None:
    full = BUDGET.cap
    open_one = [Spending(0.004, None)]
    assert BUDGET.wallet(open_one, BEGIN + 10 * YEAR) == pytest.approx(full - 0.004)
    ended = [Spending(0.004, BEGIN)]
    assert BUDGET.wallet(ended, BEGIN + YEAR) == full


def test_weekly_tests_get_a_weeks_inflow_in_the_long_run() -> None:
    spent = paid_out([(WEEK, timedelta(0), timedelta(0))] * 104)
    assert spent[-1][1].alpha == pytest.approx(BUDGET.inflow(WEEK), rel=1e-3)


def test_after_a_burst_the_wallet_is_not_empty_and_fills_again() -> None:
    burst = [one for _, one in paid_out([(timedelta(minutes=1),) * 2 + (timedelta(0),)] * 40)]
    drained = BUDGET.grant(burst, BEGIN + timedelta(hours=2), EVER)
    assert 0 < drained < 1e-5
    week_after = BUDGET.grant(burst, BEGIN + WEEK, EVER)
    assert week_after == pytest.approx(SHARE * BUDGET.inflow(WEEK), rel=0.1)


def test_a_lowered_budget_grants_nothing_at_which_anything_is_promoted() -> None:
    spent = [Spending(0.02, BEGIN)]
    assert 0 < Budget(0.001).grant(spent, BEGIN, EVER) < 1e-200
