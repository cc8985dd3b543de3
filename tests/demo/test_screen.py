from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from demo.report.rollout_models import EvidencePoint
from demo.report.rollout_report import Looks, evidence_point, rollout_report
from tests.demo.rollout_documents import WORSE, rollout, verdict
from tests.lazy_modules import lazy

screen = lazy("demo.screen")


def looks(canary: int, watch: int) -> list[EvidencePoint]:
    phases = ["canary"] * canary + ["watch"] * watch
    return [evidence_point(verdict(), phase, hours) for hours, phase in enumerate(phases)]


@given(st.integers(0, 60), st.integers(0, 60))
def test_few_looks_are_shown_and_the_last_of_each_phase_among_them(canary: int, watch: int) -> None:
    seen = looks(canary, watch)
    shown = screen.spread_out(seen, 12)
    assert len(shown) <= 12
    for phase in ("canary", "watch"):
        of_phase = [look for look in seen if look.phase == phase]
        assert of_phase[-1:] == [look for look in shown if look.phase == phase][-1:]


def test_the_terminal_tells_why_a_rollout_ended() -> None:
    out = StringIO()
    screen.Screen(Console(file=out, width=200)).show_rollout(
        rollout_report(rollout(), Looks(), "w")
    )
    assert "rolled back" in out.getvalue()
    assert WORSE in out.getvalue()
