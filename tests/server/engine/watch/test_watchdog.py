"""The decision that something hangs: never while it moves, always soon after it has stopped."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.watch.watchdog import Liveness, Watchdog

pytestmark = pytest.mark.pure

HANG, CANARY, GAP = 60.0, 10.0, 2.0
LOOKS = st.floats(0.01, GAP)


@dataclass(slots=True)
class Scene:
    """An engine and its watchdog on a clock of their own."""

    watchdog: Watchdog = field(default_factory=lambda: Watchdog(HANG, CANARY, GAP))
    now: float = 1000.0
    steps: int = 0

    def look(self, after: float = 1.0, *, busy: bool) -> Liveness:
        self.now += after
        return self.watchdog.look(self.now, progress=self.steps, busy=busy)

    def until(self, verdict: Liveness, *, busy: bool, after: float = 1.0) -> float:
        """Look until the verdict; the seconds that took."""
        began = self.now
        while self.look(after, busy=busy) is not verdict:
            assert self.now - began < 10 * (HANG + CANARY)
        return self.now - began


@given(
    looks=st.lists(st.tuples(st.floats(0.01, 3600), st.booleans(), st.integers(1, 5)), max_size=200)
)
def test_what_moves_between_looks_never_hangs(looks: list[tuple[float, bool, int]]) -> None:
    scene = Scene()
    for after, busy, steps in looks:
        scene.steps += steps
        assert scene.look(after, busy=busy) is not Liveness.HUNG


@given(after=LOOKS, steps=st.integers(0, 3))
def test_work_without_a_step_is_a_hang_in_time(after: float, steps: int) -> None:
    scene = Scene()
    for _ in range(steps):
        scene.steps += 1
        scene.look(after, busy=True)
    took = scene.until(Liveness.HUNG, busy=True, after=after)
    assert HANG <= took <= HANG + 3 * GAP


@given(after=LOOKS)
def test_an_idle_engine_is_probed_and_one_that_gives_nothing_hangs(after: float) -> None:
    scene = Scene()
    assert CANARY <= scene.until(Liveness.PROBE, busy=False, after=after) <= CANARY + 3 * GAP
    assert HANG <= scene.until(Liveness.HUNG, busy=False, after=after) <= HANG + 3 * GAP


@given(after=LOOKS)
def test_an_idle_engine_that_answers_its_probes_never_hangs(after: float) -> None:
    scene = Scene()
    for _ in range(5):
        scene.until(Liveness.PROBE, busy=False, after=after)
        assert scene.look(after, busy=False) is Liveness.FINE
        scene.steps += 1
        assert scene.look(after, busy=False) is Liveness.FINE


@given(pause=st.floats(GAP, 1e6), busy=st.booleans())
def test_time_that_the_watcher_missed_does_not_count(pause: float, busy: bool) -> None:
    scene = Scene()
    scene.look(busy=busy)
    assert scene.look(pause, busy=busy) is not Liveness.HUNG
    assert scene.watchdog.stalled_seconds <= GAP


def test_requests_that_are_given_up_one_after_the_other_do_not_hide_a_hang() -> None:
    scene = Scene()
    verdicts = [scene.look(busy=number % 3 > 0) for number in range(200)]
    assert Liveness.HUNG in verdicts


def test_a_refused_probe_is_no_hang() -> None:
    scene = Scene()
    for _ in range(20):
        scene.until(Liveness.PROBE, busy=False)
        scene.watchdog.answered()
    assert scene.watchdog.stalled_seconds == 0
