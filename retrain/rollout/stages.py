"""The stages recorded in a rollout's row, and the evidence of a verdict by name. Pure."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from adapters.routing.route import RouteView
from retrain.gates.online import OnlineVerdict
from retrain.models import Rollout
from retrain.rollout.decisions import Phase
from retrain.rollout.trial_evidence import Stage

ON_TRIAL = frozenset({Phase.CANARY, Phase.PROMOTION})
"""Phases in which the canary serves users; it continues to while it waits for approval."""


def stage(phase: Phase, at: datetime, route: RouteView) -> dict[str, Any]:
    """Return an entry of `Rollout.stages` for a phase that starts at `at`."""
    return {"phase": phase.value, "at": at.isoformat(), "share": share_of(phase, route)}


def share_of(phase: Phase, route: RouteView) -> float:
    """Return the newer version's share in a phase, 0 to 1."""
    return {
        Phase.SHADOW: route.shadow_share,
        Phase.CANARY: route.canary_share,
        Phase.PROMOTION: route.canary_share,
        Phase.WATCH: 1 - route.holdback_share,
    }.get(phase, 0.0)


def share_moved(rollout: Rollout, phase: Phase, route: RouteView) -> bool:
    """Return whether the canary's share in the route differs from the recorded one."""
    return phase in ON_TRIAL and share_of(phase, route) != rollout.stages[-1]["share"]


def began(rollout: Rollout, phase: Phase) -> datetime:
    """Return when the phase began."""
    found = [one for one in rollout.stages if one["phase"] == phase.value]
    return datetime.fromisoformat(found[0]["at"]) if found else rollout.began_at


def shares(rollout: Rollout, phases: Collection[Phase]) -> list[Stage]:
    """Return a stage for each change of the newer version's share in these phases."""
    found: list[Stage] = []
    for one in rollout.stages:
        if one["phase"] in phases and (not found or found[-1].share != one["share"]):
            found.append(Stage(datetime.fromisoformat(one["at"]), one["share"]))
    return found


def evidence_by_claim(verdict: OnlineVerdict | None) -> dict[str, float]:
    """Return the E-values of a verdict by name."""
    if verdict is None:
        return {}
    votes = {
        f"{claim} ({stream})": value
        for stream, figures in verdict.streams.items()
        for claim, value in (("better", figures.better), ("worse", figures.worse))
    }
    alarms = {name: figures.evidence for name, figures in verdict.guardrails.items()}
    return {**votes, **alarms, "voting differs": verdict.voting}
