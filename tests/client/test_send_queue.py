"""The queue of what waits to be sent: bounded, in order, and nothing slips through."""

from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pawl_client.send_queue import SendQueue

pytestmark = pytest.mark.pure


def alone(*_: object) -> bool:
    return False


def together(*_: object) -> bool:
    return True


def test_rows_are_bounded_until_they_are_done() -> None:
    waiting: SendQueue[str] = SendQueue(2, 100)
    assert waiting.put("a", 1)
    assert waiting.put("b", 1)
    assert waiting.take(alone) == ["a"]
    assert not waiting.put("c", 1)
    waiting.done()
    assert waiting.put("c", 1)


def test_bytes_are_bounded_until_they_are_done() -> None:
    waiting: SendQueue[str] = SendQueue(10, 100)
    assert not waiting.put("too large", 101)
    assert waiting.put("a", 60)
    assert not waiting.put("b", 41)
    waiting.take(alone)
    assert not waiting.put("b", 41)
    waiting.done()
    assert waiting.put("b", 41)


def test_what_joins_is_taken_together() -> None:
    waiting: SendQueue[int] = SendQueue(10, 10)
    for number in (1, 3, 5, 2, 7):
        waiting.put(number, 1)
    assert waiting.take(lambda _, number: number % 2 == 1) == [1, 3, 5]


def test_nobody_gets_in_once_it_is_closed() -> None:
    waiting: SendQueue[str] = SendQueue(10, 10)
    waiting.put("a", 1)
    waiting.put("b", 1)
    waiting.take(alone)
    assert waiting.close() == 1
    assert not waiting.put("c", 1)
    waiting.done()
    assert (waiting.rows, waiting.bytes, waiting.take(alone)) == (0, 0, [])


def test_a_flush_waits_only_for_what_was_in() -> None:
    waiting: SendQueue[int] = SendQueue(1000, 1000)
    waiting.put(0, 1)

    def consume() -> None:
        while waiting.take(alone):
            waiting.put(1, 1)  # there is always another one
            waiting.done()

    thread = Thread(target=consume)
    thread.start()
    assert waiting.flush(30)
    waiting.close()
    thread.join()


def test_a_flush_gives_up_in_time() -> None:
    waiting: SendQueue[int] = SendQueue(10, 10)
    waiting.put(0, 1)
    assert not waiting.flush(0)


@given(st.lists(st.sampled_from(["put", "take", "done", "close"]), max_size=40))
def test_rows_and_bytes_are_those_that_were_let_in_and_have_not_left(steps: list[str]) -> None:
    waiting: SendQueue[int] = SendQueue(5, 12)
    inside, taken = 0, 0
    for step in steps:
        if step == "put":
            inside += waiting.put(0, 3)
        elif step == "take" and inside > 0 and not taken:
            taken = len(waiting.take(together))
        elif step == "done":
            waiting.done()
            inside, taken = inside - taken, 0
        elif step == "close":
            inside -= waiting.close()
        assert (waiting.rows, waiting.bytes) == (inside, 3 * inside)
        assert inside <= 4


@pytest.mark.timeout(10)
def test_a_put_in_the_midst_of_a_put_does_not_wait_for_itself() -> None:
    """As when the garbage collector ends an abandoned stream just then."""

    class Interrupting(int):
        def __radd__(self, other: int) -> int:
            if waiting.rows == 0:
                assert waiting.put("inner", 1)
            return other + int(self)

    waiting: SendQueue[str] = SendQueue(10, 100)
    assert waiting.put("outer", Interrupting(2))
    assert waiting.take(together) == ["inner", "outer"]
