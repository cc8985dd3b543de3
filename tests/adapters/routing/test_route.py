"""Who answers a request, and how one route follows another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import NothingToRollBackError, RouteChangeError, UnknownModelError
from adapters.names import BASE
from adapters.next_route import changed_route
from adapters.routing.lifecycle import State
from adapters.routing.route import (
    RouteView,
    resolve,
    serving,
    state_changes,
    with_canary,
    with_live,
    with_rollback,
    with_shadow,
    without,
)
from adapters.schemas import RouteIn, RouteOut

pytestmark = pytest.mark.pure

NAMES = [f"import-{number:06x}" for number in range(6)]
NAMED = st.sampled_from(NAMES)


@st.composite
def views(draw: st.DrawFn) -> RouteView:
    """Any route that a channel can have: no version has two roles."""
    live, standby, canary, shadow = draw(st.permutations([*NAMES[:4]]))
    keep = draw(st.lists(st.booleans(), min_size=4, max_size=4))
    return RouteView(
        channel="pawl",
        tenant="t",
        live=live if keep[0] else BASE,
        standby=standby if keep[1] else None,
        canary=canary if keep[2] else None,
        canary_share=0.1 if keep[2] else 0.0,
        shadow=shadow if keep[3] else None,
        shadow_share=0.5 if keep[3] else 0.0,
        epoch=draw(st.integers(0, 5)),
        versions=frozenset(NAMES),
    )


VIEW = RouteView("pawl", "t", live=NAMES[0], canary=NAMES[1], versions=frozenset(NAMES[:3]))
MODELS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["pawl", "pawl@live", "pawl@base", "pawl@canary", "pawl@", "@", "pawl@@"]),
    NAMED.map("pawl@{}".format),
)


@given(views(), MODELS, st.sets(NAMED))
def test_only_resident_versions_or_base_answer(
    view: RouteView, model: str, resident: set[str]
) -> None:
    try:
        resolved = resolve(model, {"pawl": view}, resident)
    except UnknownModelError:
        return
    assert resolved.version == BASE or resolved.version in resident
    assert resolved.model_label == f"pawl@{resolved.version}"


@given(views(), st.sets(NAMED))
def test_a_bare_channel_is_always_answered(view: RouteView, resident: set[str]) -> None:
    resolved = resolve("pawl", {"pawl": view}, resident)
    assert resolved.role == "live"
    if view.live in resident:
        assert resolved.version == view.live


@pytest.mark.parametrize(
    ("model", "version", "role"),
    [
        ("pawl", NAMES[0], "live"),
        ("pawl@live", NAMES[0], "pinned"),
        ("pawl@canary", NAMES[1], "pinned"),
        ("pawl@base", BASE, "pinned"),
        (f"pawl@{NAMES[2]}", NAMES[2], "pinned"),
    ],
)
def test_names_resolve(model: str, version: str, role: str) -> None:
    resolved = resolve(model, {"pawl": VIEW}, NAMES)
    assert (resolved.version, resolved.role) == (version, role)


@pytest.mark.parametrize(
    "model", ["", "other", "pawl@", "pawl@shadow", f"pawl@{NAMES[3]}", "PAWL", "pawl@base "]
)
def test_other_names_are_unknown(model: str) -> None:
    with pytest.raises(UnknownModelError):
        resolve(model, {"pawl": VIEW}, NAMES)


def test_an_explicit_live_that_is_not_resident_is_unknown() -> None:
    with pytest.raises(UnknownModelError):
        resolve("pawl@live", {"pawl": VIEW}, [])


def test_no_canary_cannot_be_named() -> None:
    with pytest.raises(UnknownModelError):
        resolve("pawl@canary", {"pawl": RouteView("pawl", "t")}, NAMES)


def test_a_live_that_is_not_resident_is_stood_in_for_by_standby() -> None:
    view = RouteView("pawl", "t", live=NAMES[0], standby=NAMES[1])
    assert serving(view, [NAMES[1]]) == NAMES[1]
    assert serving(view, []) == BASE


def test_base_as_live_is_not_stood_in_for() -> None:
    assert serving(RouteView("pawl", "t", standby=NAMES[1]), NAMES) == BASE


def test_another_tenants_channel_is_unknown() -> None:
    with pytest.raises(UnknownModelError):
        resolve("pawl", {"pawl": VIEW}, NAMES, tenant="other")


def test_a_shared_channel_is_everyones() -> None:
    view = RouteView("pawl", "t", shared=True)
    assert resolve("pawl", {"pawl": view}, [], tenant="other").version == BASE


def test_the_error_shows_a_name_but_no_text() -> None:
    with pytest.raises(UnknownModelError, match="'gpt-4'"):
        resolve("gpt-4", {}, [])
    with pytest.raises(UnknownModelError) as caught:
        resolve("my secret is 42", {}, [])
    assert "secret" not in str(caught.value)


@given(views(), NAMED)
def test_a_promotion_leaves_the_former_live_as_standby(view: RouteView, name: str) -> None:
    if name == view.live:
        with pytest.raises(RouteChangeError):
            with_live(view, name)
        return
    after = with_live(view, name)
    assert (after.live, after.epoch) == (name, view.epoch + 1)
    assert after.standby == (None if view.live == BASE else view.live)
    assert name not in (after.standby, after.canary, after.shadow)


@given(views())
def test_a_rollback_undoes_a_promotion(view: RouteView) -> None:
    after = with_rollback(with_live(view, NAMES[4]))
    assert after.live == view.live
    assert after.epoch == view.epoch + 2


@given(views())
def test_rollbacks_end_at_the_base_model(view: RouteView) -> None:
    for _ in range(2):
        if view.live != BASE or view.standby is not None:
            view = with_rollback(view)
    if view.live == BASE:
        with pytest.raises(NothingToRollBackError):
            with_rollback(view)


@given(views(), st.sets(NAMED))
def test_what_is_gone_has_no_role(view: RouteView, gone: set[str]) -> None:
    after = without(view, gone)
    assert not gone & after.roles.keys()
    assert after.epoch == view.epoch + bool(gone & view.roles.keys())


@given(views(), st.sets(NAMED))
def test_states_follow_from_the_roles(view: RouteView, gone: set[str]) -> None:
    after = without(view, gone)
    changes = state_changes(view, after)
    states = {**view.roles, **changes}
    assert {name for name, state in states.items() if state == State.LIVE} == {after.live} - {BASE}
    assert gone & view.roles.keys() <= changes.keys()


@given(views())
def test_the_same_route_changes_no_state(view: RouteView) -> None:
    assert state_changes(view, view) == {}


@given(
    views(),
    st.one_of(st.none(), NAMED),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.one_of(st.none(), NAMED),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_a_wanted_route_is_reached_or_refused(
    view: RouteView,
    canary: str | None,
    canary_share: float,
    shadow: str | None,
    shadow_share: float,
) -> None:
    wanted = RouteIn(
        canary=canary, canary_share=canary_share, shadow=shadow, shadow_share=shadow_share
    )
    try:
        after = changed_route(view, wanted)
    except RouteChangeError:
        return
    assert (after.canary, after.canary_share) == (canary, canary_share)
    assert (after.shadow, after.shadow_share) == (shadow, shadow_share)
    assert after.live == view.live
    assert after.epoch == view.epoch + (after != view)


def test_a_new_canary_draws_a_new_salt() -> None:
    first = changed_route(RouteView("pawl", "t"), RouteIn(canary=NAMES[0], canary_share=0.1))
    wider = changed_route(first, RouteIn(canary=NAMES[0], canary_share=0.5))
    second = changed_route(wider, RouteIn(canary=NAMES[1], canary_share=0.5))
    assert first.trial == wider.trial != ""
    assert second.trial != first.trial


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(RouteChangeError):
        with_canary(RouteView("pawl", "t"), NAMES[0], share, "")
    with pytest.raises(RouteChangeError):
        with_shadow(RouteView("pawl", "t"), NAMES[0], share)


def test_a_share_without_a_version_is_refused() -> None:
    with pytest.raises(RouteChangeError):
        changed_route(RouteView("pawl", "t"), RouteIn(canary_share=0.5))


def test_the_route_tells_who_stands_in() -> None:
    out = RouteOut.of(VIEW, [])
    assert (out.live, out.serving) == (NAMES[0], BASE)
