"""What the log of a trial says, user by user."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.config import MetricConfig
from feedback.reading.trials import Exposure, Pace, Vote
from retrain.gates.e_process import Unit
from retrain.gates.evidence import CanaryEvidence, Happened, Timed
from retrain.rollout.trial_evidence import Stage, TrialLog, trial_evidence, vote_value
from tests.retrain.world import SATURDAY

pytestmark = pytest.mark.pure

HOUR = 3_600.0
STAGES = (Stage(SATURDAY, 0.05), Stage(SATURDAY + timedelta(hours=48), 0.5))
LATE = SATURDAY + timedelta(days=10)


def at(hours: float) -> datetime:
    return SATURDAY + timedelta(hours=hours)


def met(
    name: str, hours: float, role: str = "canary", share: float = 0.05, **more: Any
) -> Exposure:
    values: dict[str, Any] = {"first_token_seconds": None, "completion_tokens": 0, **more}
    return Exposure(("t", name), at(hours), role, share, **values)


def vote(name: str, hours: float, value: object = True) -> Vote:
    return Vote(("t", name), at(hours), "thumbs", value)


def evidence(
    exposures: Sequence[Exposure],
    votes: Sequence[Vote] = (),
    now: datetime = LATE,
    stages: Sequence[Stage] = STAGES,
    *,
    watch: bool = False,
    **more: Any,
) -> CanaryEvidence:
    return trial_evidence(TrialLog(exposures, votes, **more), stages, now, watch=watch)


def test_a_users_first_vote_is_a_unit_of_its_arm() -> None:
    users = [met("ann", 0), met("bob", 0, "live")]
    found = evidence(
        users, [vote("ann", 1), vote("bob", 2, value=False), vote("ann", 3, value=False)]
    )
    assert found.first == [
        Timed(1 * HOUR, Unit(canary=True, vote=1.0, share=0.05)),
        Timed(2 * HOUR, Unit(canary=False, vote=0.0, share=0.05)),
    ]


def test_the_days_mean_enters_when_its_24_hours_are_over() -> None:
    votes = [vote("ann", 1), vote("ann", 24.9, value=False), vote("ann", 25, value=False)]
    assert evidence([met("ann", 0)], votes, at(24.9)).day == []
    (mean,) = evidence([met("ann", 0)], votes, at(25)).day
    assert mean == Timed(25 * HOUR, Unit(canary=True, vote=0.5, share=0.05))


def test_after_a_change_of_share_only_users_of_the_new_stage_count() -> None:
    users = [met("old", 1), met("new", 49, share=0.5), met("early", 1, "live")]
    votes = [vote("early", 2), vote("old", 50), vote("new", 50)]
    found = evidence(users, votes)
    assert [unit.share for _, unit in found.first] == [0.05, 0.5]
    assert [timed.at / HOUR for timed in found.first] == [2, 50]


def test_a_day_that_closes_after_the_change_of_share_does_not_count() -> None:
    users = [met("old", 1), met("new", 49, share=0.5)]
    found = evidence(users, [vote("old", 30), vote("new", 50)])
    assert [timed.at / HOUR for timed in found.first] == [30, 50]
    assert [timed.at / HOUR for timed in found.day] == [74]


def test_a_share_that_comes_back_makes_no_old_user_new() -> None:
    stages = (*STAGES, Stage(at(96), 0.05))
    assert evidence([met("old", 1)], [vote("old", 97)], stages=stages).first == []


def test_who_came_while_the_change_was_being_noted_does_not_count() -> None:
    assert evidence([met("ann", 47.9, share=0.5)], [vote("ann", 49)]).first == []


def test_a_vote_after_the_first_changes_nothing_even_if_the_first_does_not_count() -> None:
    users = [met("ann", 1)]
    assert evidence(users, [vote("ann", 1, value="no vote"), vote("ann", 2)]).first != []
    assert evidence(users, [vote("ann", 50), vote("ann", 51)]).first == []


def test_a_watchs_newer_arm_is_live_and_its_older_one_held_back() -> None:
    users = [met("ann", 0, "live", 0.95), met("bob", 0, "holdback", 0.95)]
    stages = (Stage(SATURDAY, 0.95),)
    found = evidence(users, [vote("ann", 1), vote("bob", 2)], stages=stages, watch=True)
    assert [unit.canary for _, unit in found.first] == [True, False]


def test_who_was_never_met_in_the_trial_has_no_vote() -> None:
    assert evidence([met("ann", 0)], [vote("eve", 1)]).first == []


def test_a_rare_event_counts_once_a_user() -> None:
    users = [met("ann", 0), met("bob", 0, "live")]
    seen = [(("t", "ann"), at(1)), (("t", "ann"), at(2)), (("t", "bob"), at(3))]
    found = evidence(users, events={"failed answer": seen})
    assert found.events == {
        "failed answer": [Happened(1 * HOUR, True, 0.05), Happened(3 * HOUR, False, 0.05)]
    }


def test_times_and_lengths_are_ranked_among_lives_of_the_day_before() -> None:
    before = [Pace(first, tokens) for first, tokens in ((0.1, 10), (0.2, 20), (None, 30))]
    users = [
        met("ann", 1, first_token_seconds=0.3, completion_tokens=20),
        met("bob", 2, "live", first_token_seconds=0.1, completion_tokens=5),
        met("eve", 3),
    ]
    ranks = evidence(users, paces_before=before).ranks
    assert [unit.vote for _, unit in ranks["first token"]] == [1.0, 0.25]
    assert [unit.vote for _, unit in ranks["length"]] == [0.5, 0.0, 0.0]


def test_nothing_is_ranked_where_there_was_nothing_before() -> None:
    assert evidence([met("ann", 1, first_token_seconds=0.3)]).ranks == {}


def test_lives_rate_is_that_of_the_week_before() -> None:
    before = [vote("ann", -1), vote("bob", -2), vote("eve", -3, value=False), vote("eve", -3, 5)]
    assert evidence([], votes_before=before).rate == 0.75
    assert evidence([]).rate == 0.5
    assert evidence([], votes_before=before[:2]).rate == 0.98


def test_the_trial_is_as_old_as_its_first_stage() -> None:
    assert evidence([], now=at(36)).age_days == 1.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, 1.0), (False, 0.0), (1, 0.0), (3, 0.5), (5, 1.0), (6, None), (0, None), ("5", None)],
)
def test_thumbs_and_ratings_are_votes(value: object, expected: float | None) -> None:
    cast = Vote(("t", "ann"), SATURDAY, "thumbs", value)
    assert vote_value(cast, {}) == expected


OWN = {
    "reopened": MetricConfig(type="boolean", direction="lower"),
    "kept": MetricConfig(type="number", bad=0.2, good=0.8),
    "tone": MetricConfig(
        type="category",
        values=("kind", "cold", "plain"),
        good_values=("kind",),
        bad_values=("cold",),
    ),
}


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("reopened", True, 0.0),
        ("reopened", False, 1.0),
        ("kept", 0.9, 1.0),
        ("kept", 0.1, 0.0),
        ("kept", 1, 1.0),
        ("kept", 0.5, None),
        ("tone", "kind", 1.0),
        ("tone", "cold", 0.0),
        ("tone", "plain", None),
        ("thumbs", True, 1.0),
    ],
)
def test_a_custom_metric_votes_by_its_verdict(
    metric: str, value: object, expected: float | None
) -> None:
    assert vote_value(Vote(("t", "ann"), SATURDAY, metric, value), OWN) == expected


def test_a_value_that_says_nothing_does_not_use_up_the_users_vote() -> None:
    said = [Vote(("t", "ann"), at(1), "kept", 0.5), Vote(("t", "ann"), at(2), "kept", 0.9)]
    found = evidence([met("ann", 0)], said, metrics=OWN)
    assert [(one.at, one.unit.vote) for one in found.first] == [(2 * HOUR, 1.0)]


names = st.sampled_from(["ann", "bob", "eve"])
spoken = st.lists(st.tuples(names, st.floats(0, 200), st.booleans()), max_size=20)


@given(spoken)
def test_each_user_is_one_unit_at_most_in_each_stream(said: list[tuple[str, float, bool]]) -> None:
    users = [met("ann", 0), met("bob", 0, "live"), met("eve", 60, share=0.5)]
    votes = [
        vote(name, hours, value) for name, hours, value in sorted(said, key=lambda one: one[1])
    ]
    found = evidence(users, votes)
    for stream in (found.first, found.day):
        assert len(stream) <= len({name for name, _, _ in said})
        assert [one.at for one in stream] == sorted(one.at for one in stream)


@given(spoken, st.floats(0, 240), st.floats(0, 240))
def test_what_was_known_earlier_is_the_beginning_of_what_is_known_later(
    said: list[tuple[str, float, bool]], one: float, other: float
) -> None:
    """The gate's promise rests on it: the evidence of the past does not change."""
    early, late = sorted((one, other))
    users = [met("ann", 0), met("bob", 0, "live"), met("eve", 60, share=0.5)]
    since = {user.user: user.at for user in users}
    told = [vote(*words) for words in sorted(said, key=lambda words: words[1])]
    votes = [one for one in told if one.at >= since[one.user]]
    then = evidence(
        [user for user in users if user.at <= at(early)],
        [said for said in votes if said.at <= at(early)],
        at(early),
    )
    later = evidence(
        [user for user in users if user.at <= at(late)],
        [said for said in votes if said.at <= at(late)],
        at(late),
    )
    assert list(later.first[: len(then.first)]) == list(then.first)
    before = [timed for timed in later.day if timed.at <= early * HOUR]
    assert [timed for timed in then.day if timed.at <= early * HOUR] == before
