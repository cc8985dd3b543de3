"""Who answers a comparison."""

import pytest

from adapters.errors import NothingToCompareError, UnknownModelError
from adapters.names import BASE
from adapters.routing.comparison import Between, compared
from adapters.routing.route import RouteView, with_canary, with_shadow

pytestmark = pytest.mark.pure

LIVE, CANARY, SHADOW = "import-000001", "import-000002", "import-000003"
RESIDENT = frozenset({LIVE, CANARY, SHADOW})
SETTLED = RouteView("pawl", "shop", live=LIVE, versions=RESIDENT)
WITH_CANARY = with_canary(SETTLED, CANARY, 0.1, "salt")
FULL = with_shadow(WITH_CANARY, SHADOW, 0.5)


def versions(
    view: RouteView, between: Between | None, resident: frozenset[str] = RESIDENT
) -> tuple[str, ...]:
    sides = compared("pawl", {"pawl": view}, resident, between, tenant="shop")
    return tuple(side.version for side in sides)


@pytest.mark.parametrize(
    ("view", "between", "expected"),
    [
        (FULL, "canary", (LIVE, CANARY)),
        (FULL, "shadow", (LIVE, SHADOW)),
        (FULL, "samples", (LIVE, LIVE)),
        (FULL, None, (LIVE, CANARY)),
        (SETTLED, None, (LIVE, LIVE)),
        (RouteView("pawl", "shop"), None, (BASE, BASE)),
    ],
    ids=["canary", "shadow", "samples", "default", "default without canary", "base alone"],
)
def test_live_is_compared_with_what_was_asked_for(
    view: RouteView, between: Between | None, expected: tuple[str, ...]
) -> None:
    assert versions(view, between) == expected


@pytest.mark.parametrize("between", ["canary", "shadow"])
def test_a_role_that_nobody_has_is_refused(between: Between) -> None:
    with pytest.raises(NothingToCompareError):
        versions(SETTLED, between)


def test_a_canary_that_is_not_resident_is_not_compared() -> None:
    assert versions(FULL, None, RESIDENT - {CANARY}) == (LIVE, LIVE)
    with pytest.raises(NothingToCompareError):
        versions(FULL, "canary", RESIDENT - {CANARY})


def test_what_stands_in_for_live_is_compared_in_its_place() -> None:
    assert versions(FULL, "canary", RESIDENT - {LIVE}) == (BASE, CANARY)


def test_no_side_takes_part_in_a_trial() -> None:
    for side in compared("pawl", {"pawl": FULL}, RESIDENT, None):
        assert (side.role, side.trial, side.share) == ("comparison", None, None)


def test_another_tenants_channel_is_not_there() -> None:
    with pytest.raises(UnknownModelError):
        compared("pawl", {"pawl": FULL}, RESIDENT, None, tenant="other")
