import asyncio
import random
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from demo.client import Answers, DemoClient
from demo.local_server import DemoServerError
from demo.rollout_days import (
    HOURS_BETWEEN_VISITS,
    Regulars,
    described,
    live_through_rollout,
    visitors,
)
from demo.shop.feedback import UserFeedback
from demo.shop.town import Town, Visit
from demo.shop.users import make_users
from tests.demo.rollout_documents import BEGAN, rollout

pytestmark = pytest.mark.anyio
USERS = make_users(60, random_share=0.0)


class FakeServer:
    """Ends the rollout after so many looks; answers everything rudely."""

    def __init__(self, looks: int) -> None:
        self.time = BEGAN
        self.chats = 0
        self.rated: list[UserFeedback] = []
        self._left = looks

    async def chat(self, visit: Visit, *, answers: int, model: str = "pawl") -> Answers:
        assert (visit.user in USERS, answers, model) == (True, 1, "pawl")
        self.chats += 1
        return Answers(f"chatcmpl-{self.chats}", ["Ugh, read the website."], "pawl@base")

    async def rate(self, visit: Visit, answers: Answers, judgements: list[UserFeedback]) -> None:
        assert (visit.user in USERS, answers.model) == (True, "pawl@base")
        self.rated += judgements

    async def now(self) -> datetime:
        return self.time

    async def advance(self, by: timedelta) -> datetime:
        self.time += by
        return self.time

    async def rollout(self, version: str) -> dict[str, Any]:
        self._left -= 1
        document = rollout(phase="canary" if self._left > 0 else "rolled_back")
        return document | {"version": version, "reason": f"look {self._left}"}


async def lived(server: FakeServer) -> tuple[dict[str, Any], Any]:
    regulars = Regulars(Town(USERS, lambda name: name == "user-000"), random.Random(0), {})
    client = cast(DemoClient, server)
    return await live_through_rollout(
        client, regulars, "2026-w49-aa00bb", lambda _: None, sleep=at_once
    )


async def at_once(seconds: float) -> None:
    del seconds
    await asyncio.sleep(0)


async def test_users_come_until_the_server_has_decided() -> None:
    server = FakeServer(looks=12)
    document, looks = await lived(server)
    assert document["phase"] == "rolled_back"
    assert server.time > BEGAN
    assert len(looks.users) > 5
    assert looks.points


async def test_users_give_nothing_but_a_thumb_on_what_they_were_answered() -> None:
    server = FakeServer(looks=12)
    _, looks = await lived(server)
    assert {judgement.metric for judgement in server.rated} == {"thumbs"}
    assert looks.thumbs["base"].given == len(server.rated) <= server.chats
    share = looks.thumbs["base"].share
    assert share is not None
    assert share < 0.4


async def test_a_rollout_that_never_ends_is_an_error() -> None:
    with pytest.raises(DemoServerError, match="never ended"):
        await lived(FakeServer(looks=10**6))


def test_every_user_comes_once_at_most_and_as_often_as_meant() -> None:
    rng = random.Random(0)
    hours = timedelta(hours=HOURS_BETWEEN_VISITS / 4)
    came = [visitors(USERS, hours, rng) for _ in range(200)]
    assert all(len({user.name for user in users}) == len(users) for users in came)
    assert sum(map(len, came)) / 200 == pytest.approx(len(USERS) / 4, rel=0.1)


def test_the_bar_tells_the_phase_and_the_stronger_evidence() -> None:
    assert described(rollout(), BEGAN) == "Mon 03:00, rolled_back: 240 rated, E+ 0.5, E- 31"
    assert described(rollout() | {"verdict": None}, BEGAN) == "Mon 03:00, rolled_back"
