from datetime import timedelta

import pytest

from demo.report.rollout_models import Thumbs
from demo.report.rollout_report import Looks, rollout_report
from tests.demo.rollout_documents import BEGAN, WORSE, event, rollout, verdict

pytestmark = pytest.mark.pure

NOW = BEGAN + timedelta(hours=12)


def test_the_report_says_when_and_why_it_ended() -> None:
    report = rollout_report(rollout(), Looks(), "2026-w49")
    assert (report.ended, report.decided_by) == ("rolled_back", WORSE)
    assert report.ended_at == BEGAN + timedelta(hours=30)
    assert report.decisions[-1].hours == pytest.approx(30)


def test_each_decision_has_the_share_from_then_on() -> None:
    decisions = rollout_report(rollout(), Looks(), "2026-w49").decisions
    assert [one.share for one in decisions] == [0.5, 0.2, 0.5, 0.0]


def test_thresholds_are_those_of_two_streams() -> None:
    report = rollout_report(rollout(), Looks(), "2026-w49")
    assert [report.better_at, report.worse_at] == pytest.approx([100, 20])


def test_the_numbers_that_decided_stand_among_the_looks_in_order_of_time() -> None:
    looks = Looks()
    looks.note(rollout(phase="canary"), NOW)
    points = rollout_report(rollout(), looks, "2026-w49").evidence
    assert [point.hours for point in points] == pytest.approx([12, 18, 30])
    assert points[-1].worse == 31.0


def test_what_was_rolled_back_in_its_watch_was_decided_there() -> None:
    document = rollout()
    promoted = event(20, "promote", "watch", "better", **verdict())
    document["events"].insert(-1, promoted)
    points = rollout_report(document, Looks(), "2026-w49").evidence
    assert [point.phase for point in points] == ["canary", "canary", "watch"]


@pytest.mark.parametrize("phase", ["shadow", "approval", "kept", "rolled_back"])
def test_outside_canary_and_watch_there_is_no_evidence_to_see(phase: str) -> None:
    looks = Looks()
    looks.note(rollout(phase=phase), NOW)
    assert looks.points == []


def test_a_guardrail_is_shown_at_its_worst() -> None:
    looks = Looks()
    for worse in (10.0, 500.0, 20.0):
        document = rollout(phase="canary") | {"verdict": verdict(worse=worse)}
        looks.note(document, NOW)
    (alarm,) = rollout_report(rollout(), looks, "2026-w49").guardrails
    assert (alarm.name, alarm.evidence) == ("length", 50.0)


def test_thumbs_are_counted_by_the_version_that_answered() -> None:
    looks = Looks()
    for up in (True, True, False):
        looks.voted("base", up=up)
    assert looks.thumbs == {"base": Thumbs(up=2, given=3)}
    assert looks.thumbs["base"].share == pytest.approx(2 / 3)
    assert Thumbs().share is None


def test_a_watch_begins_without_the_canarys_numbers() -> None:
    looks = Looks()
    looks.note(rollout(phase="watch") | {"verdict": verdict() | {"outcome": "promote"}}, NOW)
    assert looks.points == []
