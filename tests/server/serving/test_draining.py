"""Requests while the server ends: users' are finished, ours end at once, new ones are refused."""

import asyncio

import httpx
import pytest

from server.api.dependencies import PURPOSE_HEADER
from tests.server.running_app import RunningApp, chat_body
from tests.waiting import until

pytestmark = pytest.mark.anyio

CHAT, COMPARISONS = "/v1/chat/completions", "/v1/comparisons"
EVALUATION = {PURPOSE_HEADER: "evaluation"}


async def in_flight(running: RunningApp, requests: int) -> None:
    """Return once the engine has so many."""
    await until(lambda: running.engine.in_flight("base") >= requests)


@pytest.mark.parametrize("purpose", ["evaluation", "counterpart"])
async def test_our_own_request_ends_when_the_drain_begins_and_a_users_request_goes_on(
    running: RunningApp, purpose: str
) -> None:
    running.engine.hang()
    headers = {PURPOSE_HEADER: purpose}
    async with running.operator as operator:
        ours = asyncio.create_task(operator.post(CHAT, json=chat_body(), headers=headers))
        users = asyncio.create_task(running.anyone.post(CHAT, json=chat_body()))
        await in_flight(running, 2)
        running.services.drain.begin()
        assert (await ours).status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert not users.done()
        running.engine.resume()
        assert (await users).status_code == httpx.codes.OK
    await running.services.drain.finished()


async def test_a_streamed_evaluation_is_told_when_the_drain_begins(running: RunningApp) -> None:
    running.engine.faults.token_delay_seconds = 0.05
    async with running.operator as operator:
        body = chat_body(stream=True)
        ours = asyncio.create_task(operator.post(CHAT, json=body, headers=EVALUATION))
        await in_flight(running, 1)
        running.services.drain.begin()
        answered = await ours
    told = answered.status_code == httpx.codes.SERVICE_UNAVAILABLE or "error" in answered.text
    assert told


async def test_an_evaluation_that_waits_for_its_turn_is_refused(running: RunningApp) -> None:
    turns = running.services.settings.server.limits.evaluation_concurrency
    running.engine.hang()
    async with running.operator as operator:
        asked = [
            asyncio.create_task(operator.post(CHAT, json=chat_body(), headers=EVALUATION))
            for _ in range(turns + 1)
        ]
        await in_flight(running, turns)
        running.services.drain.begin()
        answered = await asyncio.gather(*asked)
    assert {one.status_code for one in answered} == {httpx.codes.SERVICE_UNAVAILABLE}


@pytest.mark.parametrize("path", [CHAT, COMPARISONS, "/v1/completions"])
async def test_new_work_is_refused(running: RunningApp, path: str) -> None:
    running.services.drain.begin()
    body = chat_body() if path != "/v1/completions" else {"model": "pawl", "prompt": "When?"}
    refused = await running.anyone.post(path, json=body)
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert refused.headers["retry-after"]


async def test_the_end_waits_for_every_kind_of_answer_and_then_for_none(
    running: RunningApp,
) -> None:
    drain = running.services.drain
    running.engine.hang()
    asked = [
        asyncio.create_task(running.anyone.post(CHAT, json=chat_body(stream=True))),
        asyncio.create_task(running.anyone.post(CHAT, json=chat_body(n=2))),
        asyncio.create_task(running.anyone.post(COMPARISONS, json=chat_body())),
    ]
    await in_flight(running, 4)
    assert drain.open_requests == 4
    drain.begin()
    running.engine.resume()
    assert {one.status_code for one in await asyncio.gather(*asked)} == {httpx.codes.OK}
    await drain.finished()
    assert drain.open_requests == 0
