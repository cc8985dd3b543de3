"""Which step of a rollout comes next."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.names import BASE
from adapters.routing.route import (
    RouteView,
    watch_of,
    with_canary,
    with_live,
    with_rollback,
    with_shadow,
)
from retrain.config import CanaryConfig, OnlineGateConfig
from retrain.gates.evidence import CanaryEvidence
from retrain.gates.online import OnlineVerdict, Outcome, judge_canary
from retrain.rollout.decisions import (
    ENDS,
    OPEN,
    STAY,
    Phase,
    ShadowFigures,
    after_canary,
    after_shadow,
    after_watch,
    first_step,
    phase_by_route,
    while_awaited,
)
from tests.retrain.world import SATURDAY

pytestmark = pytest.mark.pure

OLD, NEW, TRIAL = "old", "new", "salt"
CONFIG = CanaryConfig()
SETTLED = RouteView("pawl", "t", live=OLD, versions=frozenset({OLD, NEW}))
SHADOW = with_shadow(SETTLED, NEW, 0.1)
CANARY = with_canary(SETTLED, NEW, 0.05, TRIAL)
WATCH = with_live(CANARY, NEW, holdback_share=0.05, trial=watch_of(TRIAL))
GONE = replace(with_rollback(WATCH), versions=frozenset({OLD}))
ROUTES = [SETTLED, SHADOW, CANARY, WATCH, GONE]


def verdict(outcome: Outcome) -> OnlineVerdict:
    found = judge_canary(CanaryEvidence(), OnlineGateConfig())
    return found.model_copy(update={"outcome": outcome, "reason": "users said so"})


@pytest.mark.parametrize(
    ("phase", "route", "expected"),
    [
        (Phase.BEGUN, SETTLED, Phase.BEGUN),
        (Phase.BEGUN, SHADOW, Phase.SHADOW),
        (Phase.BEGUN, CANARY, Phase.CANARY),
        (Phase.APPROVAL, SETTLED, Phase.APPROVAL),
        (Phase.APPROVAL, WATCH, Phase.WATCH),
        (Phase.SHADOW, SHADOW, Phase.SHADOW),
        (Phase.SHADOW, SETTLED, Phase.ENDED),
        (Phase.CANARY, CANARY, Phase.CANARY),
        (Phase.CANARY, replace(CANARY, trial="other"), Phase.ENDED),
        (Phase.CANARY, WATCH, Phase.WATCH),
        (Phase.PROMOTION, CANARY, Phase.PROMOTION),
        (Phase.PROMOTION, SETTLED, Phase.ENDED),
        (Phase.WATCH, WATCH, Phase.WATCH),
        (Phase.WATCH, SETTLED, Phase.ENDED),
    ],
)
def test_the_route_says_where_a_rollout_stands(
    phase: Phase, route: RouteView, expected: Phase
) -> None:
    assert phase_by_route(phase, NEW, route, TRIAL) == expected


def test_a_canary_whose_name_was_not_noted_yet_is_followed() -> None:
    assert phase_by_route(Phase.SHADOW, NEW, CANARY, "") == Phase.CANARY


@given(st.sampled_from(sorted(OPEN)))
def test_a_version_that_may_not_answer_any_more_ends_its_rollout(phase: Phase) -> None:
    assert phase_by_route(phase, NEW, GONE, TRIAL) == Phase.ENDED


@given(st.sampled_from(sorted(ENDS)), st.sampled_from(ROUTES))
def test_what_has_ended_stays_so_whatever_the_route(phase: Phase, route: RouteView) -> None:
    assert phase_by_route(phase, NEW, route, TRIAL) == phase


@given(st.sampled_from(sorted(Phase)), st.sampled_from(ROUTES), st.sampled_from(["", TRIAL, "x"]))
def test_following_the_route_twice_changes_nothing(
    phase: Phase, route: RouteView, trial: str
) -> None:
    once = phase_by_route(phase, NEW, route, trial)
    assert phase_by_route(once, NEW, route, trial) == once


def test_a_rollout_begins_with_a_shadow_if_one_is_asked_for() -> None:
    none = CONFIG.model_copy(update={"shadow_answers": 0})
    assert first_step(SATURDAY, SATURDAY, CONFIG).move == "shadow"
    assert first_step(SATURDAY, SATURDAY, none).move == "canary"


def test_a_rollout_that_cannot_begin_is_given_up() -> None:
    late = SATURDAY + timedelta(hours=CONFIG.shadow_hours)
    assert first_step(SATURDAY, late, CONFIG).move == "roll_back"


@pytest.mark.parametrize(
    ("answered", "failed", "hours", "move"),
    [
        (0, 0, 1, "stay"),
        (199, 0, 1, "stay"),
        (196, 4, 1, "canary"),
        (195, 5, 1, "roll_back"),
        (0, 5, 1, "roll_back"),
        (10, 4, 1, "stay"),
        (0, 0, 24, "canary"),
        (50, 0, 24, "canary"),
        (46, 4, 24, "roll_back"),
    ],
)
def test_a_shadow_meets_users_once_it_has_answered_enough(
    answered: int, failed: int, hours: float, move: str
) -> None:
    now = SATURDAY + timedelta(hours=hours)
    step = after_shadow(ShadowFigures(answered, failed), SATURDAY, now, CONFIG)
    assert step.move == move
    if step is not STAY:
        assert step.numbers == {"answered": answered, "failed": failed}


@given(st.integers(0, 1_000), st.integers(1, 1_000), st.floats(0, 48))
def test_more_failures_never_help_a_shadow(answered: int, failed: int, hours: float) -> None:
    now = SATURDAY + timedelta(hours=hours)
    total = answered + failed
    fewer = after_shadow(ShadowFigures(total - failed + 1, failed - 1), SATURDAY, now, CONFIG)
    more = after_shadow(ShadowFigures(total - failed, failed), SATURDAY, now, CONFIG)
    assert fewer.move != "roll_back" or more.move == "roll_back"


@pytest.mark.parametrize(
    ("outcome", "ask", "unread", "move"),
    [
        ("promote", False, False, "promote"),
        ("promote", True, False, "ask"),
        ("promote", False, True, "stay"),
        ("roll_back", False, False, "roll_back"),
        ("roll_back", True, True, "roll_back"),
    ],
)
def test_the_gates_verdict_moves_a_canary(
    outcome: Outcome, ask: bool, unread: bool, move: str
) -> None:
    step = after_canary(verdict(outcome), 0, 0.05, CONFIG, ask=ask, unread=unread)
    assert step.move == move


@pytest.mark.parametrize(
    ("served", "share", "move"),
    [(1_699, 0.05, "stay"), (1_700, 0.05, "widen"), (1_700, 0.5, "stay")],
)
def test_a_canary_is_widened_once_the_guardrails_have_seen_enough(
    served: int, share: float, move: str
) -> None:
    assert after_canary(verdict("continue"), served, share, CONFIG, ask=False).move == move


def test_what_waits_for_a_person_can_still_be_rolled_back() -> None:
    assert while_awaited(verdict("continue")) == STAY
    assert while_awaited(verdict("roll_back")).move == "roll_back"


@pytest.mark.parametrize(
    ("outcome", "route", "days", "move"),
    [
        ("continue", WATCH, 6.9, "stay"),
        ("continue", WATCH, 7, "keep"),
        ("roll_back", WATCH, 7, "roll_back"),
        ("roll_back", replace(WATCH, trial="next", holdback_share=0), 1, "keep"),
    ],
)
def test_a_watch_keeps_what_nothing_speaks_against(
    outcome: Outcome, route: RouteView, days: float, move: str
) -> None:
    now = SATURDAY + timedelta(days=days)
    assert after_watch(verdict(outcome), route, TRIAL, SATURDAY, now, CONFIG).move == move


def test_the_base_model_is_live_before_the_first_version() -> None:
    first = with_live(replace(SETTLED, live=BASE), NEW, holdback_share=0.05, trial=watch_of(TRIAL))
    assert phase_by_route(Phase.WATCH, NEW, first, TRIAL) == Phase.WATCH
