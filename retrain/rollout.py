"""The life of a rollout: shadow, canary, watch. Which step comes next is a pure function.

A rollout follows the route: what the route says is what happened, so a rollout that was interrupted
between changing the route and noting it goes on from the route, and one whose version is no longer
in the route has been ended by somebody else.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from adapters.route import RouteView, watch_of
from retrain.canary_config import CanaryConfig
from retrain.online_gate import OnlineVerdict


class Phase(StrEnum):
    """Where a rollout stands. The last four are its ends."""

    APPROVAL = "approval"
    """A person has the last word before it begins."""
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTION = "promotion"
    """Users have decided for it; a person has the last word."""
    WATCH = "watch"
    KEPT = "kept"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    ENDED = "ended"
    """By somebody else: the route was changed by hand."""


OPEN = frozenset({Phase.APPROVAL, Phase.SHADOW, Phase.CANARY, Phase.PROMOTION, Phase.WATCH})
MEETS_USERS = frozenset({Phase.CANARY, Phase.PROMOTION, Phase.WATCH})

Move = Literal["shadow", "canary", "widen", "ask", "promote", "keep", "roll_back", "stay"]


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, and why."""

    move: Move
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """What the shadow has answered."""

    answered: int = 0
    failed: int = 0


STAY = Step("stay")


def phase_by_route(phase: Phase, version: str, route: RouteView, trial: str) -> Phase:
    """Where a rollout stands by the route, whatever was noted last."""
    if phase in (Phase.APPROVAL, *_ENDS):
        return phase
    if route.live == version:
        return Phase.WATCH
    if route.canary == version and (route.trial == trial or not trial):
        return Phase.PROMOTION if phase == Phase.PROMOTION else Phase.CANARY
    return Phase.SHADOW if route.shadow == version else Phase.ENDED


_ENDS = frozenset({Phase.KEPT, Phase.ROLLED_BACK, Phase.REFUSED, Phase.ENDED})


def after_shadow(
    figures: ShadowFigures, began: datetime, now: datetime, config: CanaryConfig
) -> Step:
    """Whether the shadow has answered enough to meet users."""
    seen = figures.answered + figures.failed
    if seen and figures.failed / seen > config.shadow_failures and seen >= config.shadow_answers:
        share = figures.failed / seen
        return Step("roll_back", f"{share:.1%} of {seen} shadow answers failed.")
    if seen >= config.shadow_answers:
        return Step("canary", f"The shadow answered {seen} requests.")
    if now - began >= timedelta(hours=config.shadow_hours):
        return Step("canary", f"The shadow answered {seen} requests in {config.shadow_hours:g} h.")
    return STAY


def after_canary(
    verdict: OnlineVerdict, served: int, share: float, config: CanaryConfig, *, ask: bool
) -> Step:
    """What the online gate's verdict means at this stage; `served` are the canary's requests."""
    if verdict.outcome == "roll_back":
        return Step("roll_back", verdict.reason)
    if verdict.outcome == "promote":
        return Step("ask" if ask else "promote", verdict.reason)
    if share < config.share and served >= config.first_requests:
        return Step("widen", f"The guardrails have seen {served} requests of the canary.")
    return STAY


def after_watch(
    verdict: OnlineVerdict,
    route: RouteView,
    trial: str,
    began: datetime,
    now: datetime,
    config: CanaryConfig,
) -> Step:
    """Whether what was promoted stays."""
    if route.trial != watch_of(trial):
        return Step("keep", "Another rollout or an operator ended the watch.")
    if verdict.outcome == "roll_back":
        return Step("roll_back", verdict.reason)
    if now - began >= timedelta(days=config.watch_days):
        return Step("keep", f"Nothing spoke against it in {config.watch_days:g} days.")
    return STAY
