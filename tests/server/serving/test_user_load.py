"""When unawaited answers may run: whether users leave the engine room for them."""

import asyncio

import pytest

from server.config import ShadowConfig
from server.serving import user_load
from server.serving.user_load import UserLoad

pytestmark = pytest.mark.anyio


class Time:
    """A clock that moves when a waiting answer sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        self.ends_at: float | None = None
        self.load: UserLoad | None = None

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        if self.ends_at is not None and self.now >= self.ends_at and self.load is not None:
            self.ends_at = None
            self.load.ended()


@pytest.fixture
def time() -> Time:
    return Time()


def loaded(time: Time, answers: int, busy: int = 2, quiet: float = 1.0) -> UserLoad:
    load = UserLoad(ShadowConfig(busy_streams=busy, quiet_seconds=quiet), time, time.sleep)
    for _ in range(answers):
        load.began()
    time.load = load
    return load


async def test_a_light_load_is_not_waited_for(time: Time) -> None:
    await loaded(time, 1).until_light()
    assert time.sleeps == []


async def test_a_busy_engine_is_waited_for_until_the_quiet_period_is_over(time: Time) -> None:
    load = loaded(time, 2)
    time.ends_at = 5.0
    await load.until_light()
    assert 6.0 <= time.now <= 6.0 + 2 * user_load.LOOK_SECONDS


async def test_where_shadow_answers_are_off_nobody_may_be_answered(time: Time) -> None:
    load = loaded(time, 1, busy=0)
    time.ends_at = 3.0
    await load.until_light()
    assert time.now >= 3.0


async def test_a_wait_can_be_cancelled() -> None:
    load = UserLoad(ShadowConfig(busy_streams=1), lambda: 0.0)
    load.began()
    waiting = asyncio.create_task(load.until_light())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
