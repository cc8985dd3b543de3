"""A rollout as `GET /v1/rollouts/{version}` shows it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from retrain.config import CanaryConfig

BEGAN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
WORSE = "Votes (first) show the canary to be worse: E reached 20."


def at(hours: float) -> str:
    """A moment of the rollout."""
    return (BEGAN + timedelta(hours=hours)).isoformat()


def verdict(*, users: int = 240, better: float = 0.01, worse: float = 31.0) -> dict[str, Any]:
    """What the online gate says, as far as the demo reads it."""
    return {
        "outcome": "roll_back",
        "canary_users": users // 2,
        "live_users": users - users // 2,
        "streams": {
            "first": {"users": users, "better": better, "worse": worse},
            "day": {"users": users // 3, "better": 0.5, "worse": 2.0},
        },
        "guardrails": {"length": {"users": users, "evidence": worse / 10, "threshold": 100.0}},
    }


def event(hours: float, move: str, phase: str, reason: str, **numbers: Any) -> dict[str, Any]:
    """One decision."""
    return {
        "at": at(hours),
        "move": move,
        "phase": phase,
        "actor": "rollout",
        "reason": reason,
        "numbers": numbers,
    }


def rollout(*, phase: str = "rolled_back") -> dict[str, Any]:
    """A canary that users did not like."""
    return {
        "version": "2026-w49-aa00bb",
        "channel": "pawl",
        "previous": "2026-w48-3f9c1a",
        "run": "pawl-2026-w49",
        "phase": phase,
        "began_at": at(0),
        "ended_at": at(30) if phase == "rolled_back" else None,
        "stages": [
            {"phase": "shadow", "at": at(0), "share": 0.5},
            {"phase": "canary", "at": at(6), "share": 0.2},
            {"phase": "canary", "at": at(18), "share": 0.5},
            {"phase": "rolled_back", "at": at(30), "share": 0.0},
        ],
        "settings": CanaryConfig().model_dump(mode="json"),
        "verdict": verdict(),
        "reason": WORSE,
        "events": [
            event(0, "begin", "shadow", "p is under alpha"),
            event(0.01, "shadow", "shadow", "It passed the offline gate."),
            event(6, "canary", "canary", "The shadow answered 40 requests.", answered=40, failed=0),
            event(18, "widen", "canary", "The guardrails have seen 30 requests.", **verdict()),
            event(30, "roll_back", "rolled_back", WORSE, **verdict()),
        ],
    }
