"""What the shadow says reaches no client: each of its answers begins with a word of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.workloads.shadow_sentinel import ask_everything, said_in_the_log
from bench.workloads.shadowed import Got
from server.engine.fake.answer import sentinel
from tests.server.running_app import RunningApp, running_app
from tests.server.serving.test_last_byte import database_of
from tests.server.shadowing import counted, with_shadow
from tests.waiting import until

pytestmark = pytest.mark.anyio

REQUESTS = 3_000
"""`python -m bench.shadow --sentinel` asks 10,000, of a server."""
ROOM = {"busy_streams": 1000, "concurrency": 8, "queue_max": 1000, "ttl_seconds": 60}


async def ask(running: RunningApp, sentinel: str, requests: int = REQUESTS) -> Any:
    async def fetch(method: str, path: str, body: Mapping[str, Any] | None) -> Got:
        response = await running.operator.request(method, path, json=body)
        return Got(response.status_code, response.headers, response.content)

    prompts = [f"Question {number}" for number in range(20)]
    return await ask_everything(fetch, requests, sentinel=sentinel, prompts=prompts)


@pytest.mark.timeout(120)
async def test_not_a_byte_of_the_shadow_reaches_a_client(tmp_path: Path) -> None:
    async with running_app(
        tmp_path / "data", server={"shadow": ROOM}, feedback={"commit_wait_seconds": 30}
    ) as running:
        word = sentinel(await with_shadow(running, tmp_path))
        seen = await ask(running, word)
        await until(lambda: not running.services.recorder.depth, seconds=60)
        assert (seen.requests, seen.failed, seen.leaks) == (REQUESTS, 0, 0)
        assert (await counted(running))["answered"] > REQUESTS / 2
        assert said_in_the_log(database_of(running), word) > REQUESTS / 2


async def test_the_search_finds_what_live_itself_says(running: RunningApp) -> None:
    """So that finding nothing means something."""
    seen = await ask(running, sentinel("base"), requests=30)
    assert seen.leaks == 2 * 30
