"""The state machine of a rollout: shadow, canary, promotion, watch. Pure.

The route is the source of truth. A rollout that was interrupted between changing the route and its
own row continues from the route. If its version is no longer in the route, somebody else has ended
it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from adapters.routing.route import RouteView, watch_of
from retrain.config import CanaryConfig
from retrain.gates.online import OnlineVerdict


class Phase(StrEnum):
    """The phase of a rollout. The last four are final."""

    BEGUN = "begun"
    """Recorded; the route has not been changed yet."""
    APPROVAL = "approval"
    """Waiting for an administrator's approval before it starts."""
    SHADOW = "shadow"
    """The version answers a share of requests, without users seeing it."""
    CANARY = "canary"
    """The version answers a share of users."""
    PROMOTION = "promotion"
    """The online gate has passed; waiting for an administrator's approval."""
    WATCH = "watch"
    """The version is live, and a share of users stays on the previous one."""
    KEPT = "kept"
    """The version stays live."""
    ROLLED_BACK = "rolled_back"
    """The version was withdrawn automatically."""
    REFUSED = "refused"
    """An administrator refused the version."""
    ENDED = "ended"
    """The route was changed by hand, or the base model was replaced."""


ENDS = frozenset({Phase.KEPT, Phase.ROLLED_BACK, Phase.REFUSED, Phase.ENDED})
OPEN = frozenset(Phase) - ENDS

Move = Literal[
    "begin",
    "follow",
    "shadow",
    "canary",
    "widen",
    "ask",
    "promote",
    "keep",
    "roll_back",
    "refuse",
    "stay",
]
"""A change of the route; `begin` and `follow` only record what has happened."""


@dataclass(frozen=True, slots=True)
class NextMove:
    """What to do next, and why."""

    move: Move
    reason: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """The numbers it is based on, in addition to the verdict's."""


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """Numbers of answered and failed shadow requests."""

    answered: int = 0
    failed: int = 0


STAY = NextMove("stay")


def phase_by_route(phase: Phase, version: str, route: RouteView, trial: str) -> Phase:
    """Return the phase according to the route, given the phase that was recorded last."""
    if phase not in ENDS and route.live == version:
        return Phase.WATCH
    if phase not in ENDS and version not in route.versions:
        return Phase.ENDED
    if phase in (*ENDS, Phase.APPROVAL):
        return phase
    if route.canary == version and trial in ("", route.trial):
        return Phase.PROMOTION if phase == Phase.PROMOTION else Phase.CANARY
    if route.shadow == version:
        return Phase.SHADOW
    return phase if phase == Phase.BEGUN else Phase.ENDED


def first_step(began: datetime, now: datetime, config: CanaryConfig) -> NextMove:
    """Return the first move of a rollout without approval; give up if it cannot start in time."""
    if now - began >= timedelta(hours=config.shadow_hours):
        return NextMove("roll_back", f"It could not start within {config.shadow_hours:g} h.")
    if config.shadow_answers:
        return NextMove("shadow", "It passed the offline gate.")
    return NextMove("canary", "It passed the offline gate; the shadow stage is disabled.")


def after_shadow(
    figures: ShadowFigures, began: datetime, now: datetime, config: CanaryConfig
) -> NextMove:
    """Return whether the shadow stage continues, ends in a canary, or fails.

    It fails as soon as there are more failures than are allowed among `shadow_answers`.
    """
    seen = figures.answered + figures.failed
    numbers = {"answered": figures.answered, "failed": figures.failed}
    expired = now - began >= timedelta(hours=config.shadow_hours)
    expected = seen if expired else max(seen, config.shadow_answers)
    if figures.failed > config.shadow_failures * expected:
        return NextMove("roll_back", f"{figures.failed} of {seen} shadow answers failed.", numbers)
    if seen >= config.shadow_answers:
        return NextMove("canary", f"The shadow answered {seen} requests.", numbers)
    if expired:
        reason = f"The shadow answered {seen} requests in {config.shadow_hours:g} h."
        return NextMove("canary", reason, numbers)
    return STAY


def after_canary(
    verdict: OnlineVerdict,
    served: int,
    share: float,
    config: CanaryConfig,
    *,
    ask: bool,
    unread: bool = False,
) -> NextMove:
    """Return the move that follows from the online gate's verdict on the canary.

    Args:
        verdict: The online gate's.
        served: Number of requests that the canary has served.
        share: The canary's current share of users.
        config: The rollout's settings.
        ask: Whether an administrator must approve the promotion.
        unread: Whether the harm metrics have not measured all answers; if so, nothing is promoted.

    """
    numbers = {"served": served}
    if verdict.outcome == "roll_back":
        return NextMove("roll_back", verdict.reason, numbers)
    if verdict.outcome == "promote":
        move: Move = "ask" if ask else "promote"
        return STAY if unread else NextMove(move, verdict.reason, numbers)
    if share < config.share and served >= config.first_requests:
        reason = f"The guardrails have seen {served} requests of the canary."
        return NextMove("widen", reason, numbers)
    return STAY


def while_awaited(verdict: OnlineVerdict) -> NextMove:
    """Return whether a canary that waits for approval is rolled back."""
    return NextMove("roll_back", verdict.reason) if verdict.outcome == "roll_back" else STAY


def after_watch(
    verdict: OnlineVerdict,
    route: RouteView,
    trial: str,
    began: datetime,
    now: datetime,
    config: CanaryConfig,
) -> NextMove:
    """Return whether a promoted version is kept, rolled back or watched further."""
    if route.trial != watch_of(trial):
        return NextMove("keep", "Another rollout or an operator ended the watch.")
    if verdict.outcome == "roll_back":
        return NextMove("roll_back", verdict.reason)
    if now - began >= timedelta(days=config.watch_days):
        return NextMove("keep", f"No evidence against it within {config.watch_days:g} days.")
    return STAY
