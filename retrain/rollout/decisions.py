"""The life of a rollout: shadow, canary, watch. Which step comes next is a pure function.

A rollout follows the route: what the route says is what happened, so a rollout that was interrupted
between changing the route and noting it goes on from the route, and one whose version is no longer
in the route has been ended by somebody else.
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
    """Where a rollout stands. The last four are its ends."""

    BEGUN = "begun"
    """Noted; the route is still to be changed."""
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
    """By a person."""
    ENDED = "ended"
    """By somebody else: the route was changed by hand, or the base model is another."""


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
"""What is done to the route; `begin` and `follow` only note what has happened."""


@dataclass(frozen=True, slots=True)
class NextMove:
    """What to do next, and why."""

    move: Move
    reason: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Beside the verdict's: what it was decided on."""


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """What the shadow has answered."""

    answered: int = 0
    failed: int = 0


STAY = NextMove("stay")


def phase_by_route(phase: Phase, version: str, route: RouteView, trial: str) -> Phase:
    """Where a rollout stands by the route, whatever was noted last."""
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
    """How a rollout begins that needs no approval; one that cannot begin is given up."""
    if now - began >= timedelta(hours=config.shadow_hours):
        return NextMove("roll_back", f"It could not begin within {config.shadow_hours:g} h.")
    if config.shadow_answers:
        return NextMove("shadow", "The offline gate let it through.")
    return NextMove("canary", "The offline gate let it through; no shadow was asked for.")


def after_shadow(
    figures: ShadowFigures, began: datetime, now: datetime, config: CanaryConfig
) -> NextMove:
    """Whether the shadow has answered enough to meet users.

    It ends as soon as more answers have failed than may among all that are asked for.
    """
    seen = figures.answered + figures.failed
    numbers = {"answered": figures.answered, "failed": figures.failed}
    over = now - began >= timedelta(hours=config.shadow_hours)
    asked = seen if over else max(seen, config.shadow_answers)
    if figures.failed > config.shadow_failures * asked:
        return NextMove("roll_back", f"{figures.failed} of {seen} shadow answers failed.", numbers)
    if seen >= config.shadow_answers:
        return NextMove("canary", f"The shadow answered {seen} requests.", numbers)
    if over:
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
    """What the online gate's verdict means at this stage; `served` are the canary's requests.

    `unread`: the harm metrics have not seen all answers yet, and nothing is promoted till then.
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
    """Whether a canary that waits for a person's word goes on waiting."""
    return NextMove("roll_back", verdict.reason) if verdict.outcome == "roll_back" else STAY


def after_watch(
    verdict: OnlineVerdict,
    route: RouteView,
    trial: str,
    began: datetime,
    now: datetime,
    config: CanaryConfig,
) -> NextMove:
    """Whether what was promoted stays."""
    if route.trial != watch_of(trial):
        return NextMove("keep", "Another rollout or an operator ended the watch.")
    if verdict.outcome == "roll_back":
        return NextMove("roll_back", verdict.reason)
    if now - began >= timedelta(days=config.watch_days):
        return NextMove("keep", f"Nothing spoke against it in {config.watch_days:g} days.")
    return STAY
