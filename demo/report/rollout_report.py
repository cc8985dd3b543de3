"""Makes a rollout's report from what `GET /v1/rollouts/{version}` said over time. Pure."""

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
    """Everything that was seen of a rollout while its users chatted."""

    points: list[EvidencePoint] = field(default_factory=list)
    alarms: dict[str, GuardrailReport] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)
    thumbs: dict[str, Thumbs] = field(default_factory=dict)

    def note(self, rollout: Rollout, at: datetime) -> None:
        """Keep what the online gate says at `at`, where it has said anything about this phase."""
        verdict = rollout["verdict"]
        if verdict is None or rollout["phase"] not in ("canary", "watch"):
            return
        if rollout["phase"] == "watch" and verdict["outcome"] == "promote":
            return  # the canary's: a watch promotes nothing, and has not been looked at yet
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
        """Count a thumb for the version that answered."""
        self.thumbs[version] = self.thumbs.get(version, Thumbs()).and_one(up=up)


def hours_between(began: str, at: datetime) -> float:
    """Hours from `began` (ISO 8601) to `at`."""
    return (at - datetime.fromisoformat(began)).total_seconds() / _HOUR


def evidence_point(verdict: Mapping[str, Any], phase: str, hours: float) -> EvidencePoint:
    """One look, from the online gate's verdict."""
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
    """The report of a rollout that has ended (or of one under way, so far)."""
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
    """The events, each with the share that holds from then on; the offline gate's words left out.

    They stand with the week's run, and are why the rollout began.
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
    """The share of the stage nearest to the event: the two are noted one after the other."""
    at = _moment(event["at"])
    of_phase = {when: share for (phase, when), share in shares.items() if phase == event["phase"]}
    if not of_phase:
        return 0.0
    return of_phase[min(of_phase, key=lambda when: abs((when - at).total_seconds()))]


def _with_decisive(points: Sequence[EvidencePoint], rollout: Rollout) -> list[EvidencePoint]:
    """The looks and, in their order, the numbers that decisions were made on."""
    decisive = [
        evidence_point(event["numbers"], _decided_in(rollout, event), _event_hours(rollout, event))
        for event in rollout["events"]
        if "streams" in event["numbers"]
    ]
    return sorted([*points, *decisive], key=lambda point: point.hours)


def _decided_in(rollout: Rollout, event: Mapping[str, Any]) -> str:
    """The phase that a decision ended: a rollout that was watched has left the canary."""
    watched = any(one["phase"] == "watch" and one["at"] < event["at"] for one in rollout["events"])
    return "watch" if watched else "canary"


def _event_hours(rollout: Rollout, event: Mapping[str, Any]) -> float:
    return hours_between(rollout["began_at"], _moment(event["at"]))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
