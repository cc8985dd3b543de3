"""Canaries and watches: who answers whom, and how a trial begins and ends."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.names import BASE
from adapters.next_route import changed_route
from adapters.routing.route import (
    RouteView,
    bucket,
    resolve,
    watch_of,
    with_canary,
    with_live,
    with_rollback,
    without,
    without_trial,
)
from adapters.schemas import RouteIn
from tests.adapters.world import WHO, World

OLD, NEW = "import-000001", "import-000002"
RESIDENT = frozenset({OLD, NEW})
SETTLED = RouteView("pawl", "t", live=OLD, versions=RESIDENT)
CANARY = with_canary(SETTLED, NEW, 0.3, "salt")
WATCH = with_live(CANARY, NEW, holdback_share=0.1, trial=watch_of("salt"))
USERS = [f"user {n}" for n in range(2_000)]

users = st.text(max_size=20)
shares = st.floats(0, 1)


def answers(view: RouteView) -> Counter[tuple[str, str]]:
    found = (resolve("pawl", {"pawl": view}, RESIDENT, user=user) for user in USERS)
    return Counter((one.role, one.version) for one in found)


def test_a_canary_answers_its_share_of_the_users() -> None:
    counted = answers(CANARY)
    assert set(counted) == {("canary", NEW), ("live", OLD)}
    assert counted["canary", NEW] == pytest.approx(600, abs=90)


def test_a_watch_holds_its_share_of_the_users_back() -> None:
    counted = answers(WATCH)
    assert set(counted) == {("live", NEW), ("holdback", OLD)}
    assert counted["holdback", OLD] == pytest.approx(200, abs=60)


def test_the_first_version_is_watched_against_the_base_model() -> None:
    first = with_live(RouteView("pawl", "t"), NEW, holdback_share=0.5, trial="salt.watch")
    assert set(answers(first)) == {("live", NEW), ("holdback", BASE)}


@given(users, shares, shares)
def test_who_has_met_the_canary_meets_it_while_the_share_grows(
    user: str, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    roles = [
        resolve("pawl", {"pawl": with_canary(SETTLED, NEW, share, "s")}, RESIDENT, user=user).role
        for share in (less, more)
    ]
    assert roles != ["canary", "live"]


@given(users)
def test_who_has_met_the_canary_is_not_held_back_after_it(user: str) -> None:
    role = resolve("pawl", {"pawl": CANARY}, RESIDENT, user=user).role
    later = resolve("pawl", {"pawl": WATCH}, RESIDENT, user=user).role
    assert (role, later) != ("canary", "holdback")


@given(users)
def test_a_request_says_which_trial_it_takes_part_in(user: str) -> None:
    in_canary = resolve("pawl", {"pawl": CANARY}, RESIDENT, user=user)
    in_watch = resolve("pawl", {"pawl": WATCH}, RESIDENT, user=user)
    assert (in_canary.trial, in_canary.share) == ("salt", 0.3)
    assert (in_watch.trial, in_watch.share) == ("salt.watch", 0.9)


@given(users, st.sampled_from(["live", "base", OLD, NEW]))
def test_explicit_names_take_part_in_no_trial(user: str, named: str) -> None:
    resolved = resolve(f"pawl@{named}", {"pawl": CANARY}, RESIDENT, user=user)
    assert (resolved.role, resolved.trial, resolved.share) == ("pinned", None, None)


@given(users, st.sampled_from([frozenset({OLD}), frozenset({NEW}), frozenset()]))
def test_a_trial_rests_while_one_of_its_versions_cannot_answer(
    user: str, resident: frozenset[str]
) -> None:
    resolved = resolve("pawl", {"pawl": CANARY}, resident, user=user)
    assert (resolved.role, resolved.trial) == ("live", None)


@given(users)
def test_places_are_drawn_anew_for_each_trial(user: str) -> None:
    assert 0 <= bucket("one", user) < 1
    assert bucket("one", user) == bucket("one.watch", user) != bucket("two", user)


@pytest.mark.parametrize(
    "after",
    [
        with_rollback(with_live(CANARY, NEW)),
        with_rollback(WATCH),
        without_trial(CANARY),
        without_trial(WATCH),
        without(CANARY, {OLD}),
        without(CANARY, {NEW}),
        without(WATCH, {OLD}),
        with_live(CANARY, "import-000003"),
    ],
)
def test_a_trial_ends_when_what_it_compares_changes(after: RouteView) -> None:
    assert (after.trial, after.canary, after.holdback_share) == ("", None, 0.0)


def test_a_canary_ends_a_watch() -> None:
    after = with_canary(WATCH, "import-000003", 0.05, "other")
    assert (after.holdback_share, after.trial, after.standby) == (0.0, "other", OLD)


def test_a_canary_that_stays_under_another_live_version_is_a_new_trial() -> None:
    after = changed_route(CANARY, RouteIn(live=BASE, canary=NEW, canary_share=0.3))
    assert after.trial not in ("", CANARY.trial)


async def promoted(world: World) -> str:
    version = (await world.add()).name
    await world.registry.promote(version, **WHO)
    return version


@pytest.mark.anyio
async def test_a_canary_that_is_promoted_is_watched_under_its_own_name(world: World) -> None:
    old, new = await promoted(world), (await world.add()).name
    canary = await world.registry.set_canary(new, 0.05, **WHO)
    assert (canary.canary, canary.live) == (new, old)
    wider = await world.registry.set_canary(new, 0.5, **WHO)
    assert wider.trial == canary.trial
    await world.registry.promote(new, holdback_share=0.05, **WHO)
    watch = world.registry.routes()["pawl"]
    assert (watch.live, watch.standby, watch.holdback_share) == (new, old, 0.05)
    assert watch.trial == watch_of(canary.trial)
    over = await world.registry.end_trial("pawl", **WHO)
    assert (over.live, over.standby, over.trial) == (new, old, "")


@pytest.mark.anyio
async def test_a_canary_that_is_ended_is_rolled_back(world: World) -> None:
    old, new = await promoted(world), (await world.add()).name
    await world.registry.set_canary(new, 0.5, **WHO)
    after = await world.registry.end_trial("pawl", **WHO)
    assert (after.live, after.canary) == (old, None)
    assert await world.state(new) == "rolled_back"
    assert (await world.registry.end_trial("pawl", **WHO)).epoch == after.epoch


@pytest.mark.anyio
async def test_the_watch_survives_a_restart(world: World) -> None:
    await promoted(world)
    new = (await world.add()).name
    await world.registry.promote(new, holdback_share=0.05, **WHO)
    before = world.registry.routes()["pawl"]
    await world.registry.read_routes()
    assert world.registry.routes()["pawl"] == before
    assert before.trial.endswith(".watch")
