"""Users' own functions: whatever they do, the server goes on, and ends."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from retrain.evaluation import user_calls
from retrain.evaluation.harms import measure_harm
from retrain.evaluation.judges import JudgeError
from retrain.evaluation.user_calls import CallError, call

pytestmark = pytest.mark.anyio

LONG = 30.0


@pytest.fixture
def hung() -> Iterator[threading.Event]:
    """What a hanging function waits for; set at the end."""
    ended = threading.Event()
    yield ended
    ended.set()


async def doubled(number: int) -> int:
    return 2 * number


async def test_functions_may_be_async_or_not() -> None:
    assert await call(len, "four", seconds=LONG) == 4
    assert await call(doubled, 2, seconds=LONG) == 4


async def test_a_call_that_hangs_is_given_up(hung: threading.Event) -> None:
    async with asyncio.timeout(LONG):
        with pytest.raises(CallError, match="took longer than"):
            await call(hung.wait, seconds=0.01)
        with pytest.raises(CallError, match="took longer than"):
            await call(asyncio.Event().wait, seconds=0.01)


async def test_a_functions_own_timeout_is_told_apart() -> None:
    def late() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await call(late, seconds=LONG)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration])
async def test_what_would_end_the_server_is_an_ordinary_error(error: type[BaseException]) -> None:
    def ends() -> None:
        raise error

    async with asyncio.timeout(LONG):
        with pytest.raises(RuntimeError, match=error.__name__):
            await call(ends, seconds=LONG)


async def test_calls_that_hang_take_no_thread_of_the_loops_pool(hung: threading.Event) -> None:
    for _ in range(40):  # more than the pool has on two cores
        with pytest.raises(CallError):
            await call(hung.wait, seconds=0.001)
    async with asyncio.timeout(LONG):
        assert await asyncio.to_thread(len, "four") == 4


async def test_only_so_many_calls_may_hang(
    hung: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_calls, "_abandoned", set())
    monkeypatch.setattr(user_calls, "ABANDONED_MAX", 1)
    with pytest.raises(CallError, match="took longer"):
        await call(hung.wait, seconds=0.001)
    with pytest.raises(CallError, match="fix it"):
        await call(len, "four", seconds=LONG)


async def test_a_harm_metric_that_hangs_fails(hung: threading.Event) -> None:
    def hangs(_conversation: object, _answer: str) -> float:
        hung.wait()
        return 0.0

    async with asyncio.timeout(LONG):
        with pytest.raises(JudgeError, match="a harm metric took longer"):
            await measure_harm(hangs, [], "x", seconds=0.01)


HANGS = """
import asyncio, threading
from retrain.evaluation.judges import CallableJudge, JudgeError

async def main():
    try:
        await CallableJudge(lambda *_: threading.Event().wait(), seconds=0.01).compare([], "x", "y")
    except JudgeError:
        print("given up", flush=True)

asyncio.run(main())
"""


def test_a_process_ends_though_a_judge_hangs() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == "given up\n"
