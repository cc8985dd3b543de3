"""Builds a rollout's report from the responses of `GET /v1/rollouts/{version}`. Does no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from demo.report.rollout_models import (
    DecisionReport,
    EvidencePoint,
    GuardrailReport,
    RolloutReport,
    Thumbs,
)
from retrain.gates.evidence import STREAMS

Rollout = Mapping[str, Any]
"""The body of `GET /v1/rollouts/{version}`."""

_HOUR = 3600.0


@dataclass(slots=True)
class Looks:
    """All evidence and thumbs that were observed during a rollout."""

    points: list[EvidencePoint] = field(default_factory=list)
    alarms: dict[str, GuardrailReport] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)
    thumbs: dict[str, Thumbs] = field(default_factory=dict)

    def note(self, rollout: Rollout, at: datetime) -> None:
        """Store the online gate's evidence at `at`, if it has any about this phase."""
        verdict = rollout["verdict"]
        if verdict is None or rollout["phase"] not in ("canary", "watch"):
            return
        if rollout["phase"] == "watch" and verdict["outcome"] == "promote":
            return  # still that of the canary: the watch has not been looked at yet
        self._keep(verdict, rollout["phase"], hours_between(rollout["began_at"], at))

    def _keep(self, verdict: Mapping[str, Any], phase: str, hours: float) -> None:
        self.points.append(evidence_point(verdict, phase, hours))
        for name, seen in verdict["guardrails"].items():
            known = self.alarms.get(name)
            if known is None or seen["evidence"] > known.evidence:
                self.alarms[name] = GuardrailReport(
                    name=name, evidence=seen["evidence"], threshold=seen["threshold"]
                )

    def voted(self, version: str, *, up: bool) -> None:
        """Count one thumb for `version`."""
        self.thumbs[version] = self.thumbs.get(version, Thumbs()).and_one(up=up)


def hours_between(began: str, at: datetime) -> float:
    """Return the hours from `began` (ISO 8601) to `at`."""
    return (at - datetime.fromisoformat(began)).total_seconds() / _HOUR


def evidence_point(verdict: Mapping[str, Any], phase: str, hours: float) -> EvidencePoint:
    """Return one look's evidence from the online gate's verdict."""
    values = {
        f"{stream}_{claim}": verdict["streams"][stream][claim]
        for stream in STREAMS
        for claim in ("better", "worse")
    }
    return EvidencePoint(
        hours=hours,
        phase=phase,
        newer_users=verdict["canary_users"],
        older_users=verdict["live_users"],
        **values,
    )


def rollout_report(rollout: Rollout, looks: Looks, slot: str) -> RolloutReport:
    """Return the report of a rollout that has ended, or of one in progress so far."""
    gate = rollout["settings"]["gate"]
    return RolloutReport(
        version=rollout["version"],
        previous=rollout["previous"],
        slot=slot,
        began_at=rollout["began_at"],
        ended_at=rollout["ended_at"],
        ended=rollout["phase"],
        decided_by=rollout["reason"],
        users=len(looks.users),
        better_at=len(STREAMS) / gate["alpha_promote"],
        worse_at=len(STREAMS) / gate["alpha_roll_back"],
        rated_at_least=gate["rated_users"],
        decisions=tuple(_decisions(rollout)),
        evidence=tuple(_with_decisive(looks.points, rollout)),
        guardrails=tuple(looks.alarms[name] for name in sorted(looks.alarms)),
        thumbs=dict(sorted(looks.thumbs.items())),
    )


def _decisions(rollout: Rollout) -> Iterable[DecisionReport]:
    """Yield the rollout's events, each with the share from then on.

    Events of the offline gate are left out: the report shows them with the weekly run.
    """
    shares = {(stage["phase"], _moment(stage["at"])): stage["share"] for stage in rollout["stages"]}
    for event in rollout["events"]:
        if event["move"] == "begin":
            continue
        yield DecisionReport(
            at=event["at"],
            hours=_event_hours(rollout, event),
            move=event["move"],
            phase=event["phase"],
            share=_share_at(shares, event),
            reason=event["reason"],
        )


def _share_at(shares: Mapping[tuple[str, datetime], float], event: Mapping[str, Any]) -> float:
    """Return the share of the stage nearest in time to the event; they are stored one by one."""
    at = _moment(event["at"])
    of_phase = {when: share for (phase, when), share in shares.items() if phase == event["phase"]}
    if not of_phase:
        return 0.0
    return of_phase[min(of_phase, key=lambda when: abs((when - at).total_seconds()))]


def _with_decisive(points: Sequence[EvidencePoint], rollout: Rollout) -> list[EvidencePoint]:
    """Return the looks and the evidence at the decisions, in order of time."""
    decisive = [
        evidence_point(event["numbers"], _decided_in(rollout, event), _event_hours(rollout, event))
        for event in rollout["events"]
        if "streams" in event["numbers"]
    ]
    return sorted([*points, *decisive], key=lambda point: point.hours)


def _decided_in(rollout: Rollout, event: Mapping[str, Any]) -> str:
    """Return the phase that a decision ended; a watch means that the canary had ended."""
    watched = any(one["phase"] == "watch" and one["at"] < event["at"] for one in rollout["events"])
    return "watch" if watched else "canary"


def _event_hours(rollout: Rollout, event: Mapping[str, Any]) -> float:
    return hours_between(rollout["began_at"], _moment(event["at"]))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
