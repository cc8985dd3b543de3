"""What the command line prints for people."""

from typing import Any

import pytest

from retrain.config import OnlineGateConfig
from retrain.gates.evidence import CanaryEvidence, Compared
from retrain.gates.online import judge_canary
from server.cli.output import out, show_adapters, show_rollout, show_run, show_runs

pytestmark = pytest.mark.pure

TRAINED: dict[str, Any] = {
    "name": "2026-w47-3f9c1a",
    "state": "live",
    "resident": True,
    "parent": None,
    "created_at": "2026-11-21T03:00:00Z",
    "figures": {"pairs": 700, "win_vs_live": 0.7485, "win_vs_base": 0.7485, "p": 4.8e-21},
}
RUN: dict[str, Any] = {
    "id": "pawl-2026-w47",
    "trigger": "schedule",
    "state": "promoted",
    "step": "roll out",
    "version": "2026-w47-3f9c1a",
    "figures": {"pairs": 700},
    "reason": "It wins more often than chance. " * 20,
}


def test_a_version_that_a_run_made_is_listed_with_its_win_rate() -> None:
    with out.capture() as printed:
        show_adapters([TRAINED], as_json=False)
    assert "74.9%" in printed.get()


def test_a_version_that_was_brought_in_is_listed_without_one() -> None:
    with out.capture() as printed:
        show_adapters([{**TRAINED, "figures": {}}], as_json=False)
    assert "%" not in printed.get()


def test_a_list_of_runs_cuts_long_reasons() -> None:
    with out.capture() as printed:
        show_runs([RUN], as_json=False)
    assert printed.get().count("wins") <= 3


def test_a_run_that_looks_for_counterparts_shows_how_far_it_is() -> None:
    asking = {"counterparts": {"asked": 120, "questions": 600}}
    run = {**RUN, "state": "running", "step": "counterparts", "figures": asking, "owner": None}
    with out.capture() as printed:
        show_run({**run, "cancel_requested": False}, as_json=False)
    assert "step: counterparts, 120 of 600 questions asked" in printed.get()


def rollout(*compared: Compared) -> dict[str, Any]:
    verdict = judge_canary(CanaryEvidence(compared=compared), OnlineGateConfig())
    return {
        "version": "2026-w47-3f9c1a",
        "phase": "canary",
        "previous": "base",
        "reason": "It passed the offline gate.",
        "alpha": None,
        "threshold": 100.0,
        "verdict": verdict.model_dump(mode="json"),
        "events": [],
    }


def test_comparisons_of_a_rollout_are_shown_by_what_users_said() -> None:
    tie = Compared(1.0, canary_won=None)
    with out.capture() as printed:
        show_rollout(rollout(tie, Compared(2.0, canary_won=True), tie), as_json=False)
    assert "1 won by the newer version, 0 by the older, 2 ties" in " ".join(printed.get().split())


def test_a_rollout_without_comparisons_says_nothing_of_them() -> None:
    earlier = rollout()
    del earlier["verdict"]["comparisons"]
    for shown in (rollout(), earlier):
        with out.capture() as printed:
            show_rollout(shown, as_json=False)
        assert "comparisons" not in printed.get()
