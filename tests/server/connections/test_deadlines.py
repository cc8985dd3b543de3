"""Who is too slow, by the clock alone."""

from hypothesis import given
from hypothesis import strategies as st

from server.config import HttpConfig
from server.connections.deadlines import Overdue, ReadDeadline, WriteProgress
from server.connections.request_meter import ReadPhase

CONFIG = HttpConfig()
RATE = CONFIG.write_bytes_per_second


def test_each_phase_has_its_own_time() -> None:
    fresh, used = ReadDeadline(CONFIG, 0), ReadDeadline(CONFIG, 0, answered=True)
    assert fresh.overdue(ReadPhase.IDLE, CONFIG.head_seconds + 1) is Overdue.IDLE
    assert used.overdue(ReadPhase.IDLE, CONFIG.head_seconds + 1) is None
    assert used.overdue(ReadPhase.IDLE, CONFIG.keep_alive_seconds + 1) is Overdue.IDLE
    assert fresh.overdue(ReadPhase.HEAD, CONFIG.head_seconds + 1) is Overdue.HEAD
    assert fresh.overdue(ReadPhase.BODY, CONFIG.head_seconds + 1) is None
    assert fresh.overdue(ReadPhase.BODY, CONFIG.body_seconds + 1) is Overdue.BODY


def stalled(waiting: int, rate: float, seconds: float) -> bool:
    """Whether a peer that takes `rate` bytes a second of `waiting` is cut off by then."""
    progress = WriteProgress(CONFIG, 0)
    progress.restart(0, waiting)
    times = [second / 2 for second in range(1, int(2 * seconds))]
    left = (max(0, waiting - int(rate * now)) for now in times)
    return any(
        progress.stalled(now, rest, growing=False) for now, rest in zip(times, left, strict=True)
    )


@given(st.integers(1, 10_000_000), st.floats(1.1, 100))
def test_who_takes_what_is_asked_for_is_never_cut_off(waiting: int, faster: float) -> None:
    assert not stalled(waiting, RATE * faster, seconds=200)


@given(st.integers(RATE * 100, 10_000_000), st.floats(0, 0.9))
def test_who_takes_less_is_cut_off(waiting: int, slower: float) -> None:
    assert stalled(waiting, RATE * slower, seconds=100)


@given(st.floats(0, 1e6))
def test_who_has_taken_all_is_never_late(now: float) -> None:
    assert not WriteProgress(CONFIG, 0).stalled(now, 0, growing=False)


def test_what_is_added_begins_a_new_time() -> None:
    progress = WriteProgress(CONFIG, 0)
    progress.restart(0, 10)
    assert not progress.stalled(CONFIG.write_seconds + 1, 20, growing=True)
    assert not progress.stalled(2 * CONFIG.write_seconds, 20, growing=True)
    assert progress.stalled(2 * CONFIG.write_seconds + 2, 20, growing=True)
