"""Several apps on one PostgreSQL: what one changes, all follow, by notification or by looking."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from server.database import notifications
from server.errors import SetupError
from tests.adapters.adapter_files import make_adapter
from tests.postgres_fixture import TestDatabases
from tests.server.metrics.test_metrics import samples
from tests.server.running_app import RunningApp, chat_body, running_app
from tests.waiting import eventually

pytestmark = pytest.mark.anyio


class House:
    """Servers on one database and one folder of adapters."""

    def __init__(self, folder: Path, url: str, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.url = url
        self._stack = stack

    async def server(self, name: str, *, beat: float = 0.05, **sections: Any) -> RunningApp:
        """Another server; with a long `beat` it follows by notifications alone."""
        cluster = {
            "name": name,
            "beat_seconds": beat,
            "dead_seconds": max(10, 2 * beat),
            "route_age_seconds": 3600,
        }
        adapters = {"store": str(self.folder / "adapters"), "cluster": cluster}
        return await self._stack.enter_async_context(
            running_app(self.folder / name, database_url=self.url, adapters=adapters, **sections)
        )

    async def candidate(self, server: RunningApp, seed: int = 1) -> str:
        """A version that is loaded on that server alone."""
        adapter = make_adapter(self.folder / f"trained-{seed}", seed)
        added = await server.operator.post("/v1/adapters", json={"path": str(adapter)})
        name: str = added.json()["name"]
        return name


@pytest.fixture
async def house(tmp_path: Path, postgres: TestDatabases) -> AsyncIterator[House]:
    with postgres.database() as url:
        async with AsyncExitStack() as stack:
            yield House(tmp_path, url, stack)


async def promote(server: RunningApp, version: str) -> int:
    path = f"/v1/adapters/{version}/promote"
    return (await server.operator.post(path, json={"reason": "test"})).status_code


async def answered_by(server: RunningApp) -> str:
    answer = await server.anyone.post("/v1/chat/completions", json=chat_body())
    return answer.headers["x-pawl-version"]


@pytest.mark.parametrize("beat", [0.05, 3600.0])
async def test_a_promotion_and_a_rollback_reach_every_server(house: House, beat: float) -> None:
    """By looking every now and then, and, where nobody looks for an hour, by notification."""
    a, b = await house.server("a", beat=beat), await house.server("b", beat=beat)
    version = await house.candidate(a)
    assert await promote(a, version) == 200
    await eventually(lambda: _is(b, version))
    rolled = await b.operator.post("/v1/rollback", json={})
    assert rolled.status_code == 200
    await eventually(lambda: _is(a, "base"))


async def _is(server: RunningApp, version: str) -> bool:
    return await answered_by(server) == version


async def test_a_lost_notification_connection_is_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "RECONNECT_SECONDS", 0.01)
    a, b = await house.server("a", beat=3600), await house.server("b", beat=3600)
    async with await psycopg.AsyncConnection.connect(house.url, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'pawl-listen' AND datname = current_database()"
        )
    version = await house.candidate(a)
    assert await promote(a, version) == 200
    await eventually(lambda: _is(b, version))


async def test_a_key_made_or_revoked_on_one_server_counts_on_all(house: House) -> None:
    a, b = await house.server("a", beat=3600), await house.server("b", beat=3600)
    key = await a.key("app")
    client = b.bearer(key)

    async def accepted() -> bool:
        return (await client.get("/v1/models")).status_code == 200

    async def refused() -> bool:
        return not await accepted()

    await eventually(accepted)
    (row,) = (await a.operator.get("/v1/keys")).json()
    await a.operator.delete(f"/v1/keys/{row['id']}")
    await eventually(refused)


async def test_feedback_may_go_to_another_server_than_the_one_that_answered(house: House) -> None:
    a, b = await house.server("a"), await house.server("b")
    answer = (await a.anyone.post("/v1/chat/completions", json=chat_body())).json()
    word = {"inference_id": answer["id"], "metric_name": "thumbs", "value": True}
    assert (await b.anyone.post("/v1/feedback", json=word)).status_code == 200
    told = (await a.anyone.get(f"/v1/interactions/{answer['id']}")).json()
    assert [row["value"] for row in told["feedback"]] == [True]


async def test_a_feedback_token_of_one_server_counts_on_another(house: House) -> None:
    a, b = await house.server("a"), await house.server("b")
    answer = (await a.anyone.post("/v1/chat/completions", json=chat_body())).json()
    asked = await a.anyone.post("/v1/feedback-tokens", json={"inference_id": answer["id"]})
    word = {"inference_id": answer["id"], "metric_name": "thumbs", "value": True}
    client = b.bearer(asked.json()["token"])
    assert (await client.post("/v1/feedback", json=word)).status_code == 200


async def test_a_comparison_is_voted_on_and_opened_on_any_server(house: House) -> None:
    a, b = await house.server("a"), await house.server("b")
    compared = await a.anyone.post("/v1/comparisons", json=chat_body())
    first, second = (side["interaction"] for side in compared.json()["sides"])
    assert (await b.anyone.get(f"/v1/interactions/{first}")).json()["version"] is None
    vote = {"inference_id": first, "metric_name": "preference", "value": {"over": second}}
    assert (await b.anyone.post("/v1/feedback", json=vote)).status_code == 200
    assert (await a.anyone.get(f"/v1/interactions/{first}")).json()["version"] == "base"


async def test_a_user_meets_the_same_version_on_every_server(house: House) -> None:
    a, b = await house.server("a"), await house.server("b")
    canary = await house.candidate(a)
    wanted = {"canary": canary, "canary_share": 0.5}
    assert (await a.operator.put("/v1/route", json=wanted)).status_code == 200

    async def followed() -> bool:
        return str((await b.operator.get("/v1/route")).json()["canary"]) == canary

    await eventually(followed)
    for user in map(str, range(20)):
        answers = [
            await server.anyone.post("/v1/chat/completions", json=chat_body(user=user))
            for server in (a, b)
        ]
        assert len({answer.headers["x-pawl-version"] for answer in answers}) == 1


async def test_servers_that_start_at_once_on_an_empty_database_share_one_secret(
    tmp_path: Path, postgres: TestDatabases
) -> None:
    with postgres.database(empty=True) as url:
        async with AsyncExitStack() as stack:
            house = House(tmp_path, url, stack)
            a, b = await asyncio.gather(house.server("a"), house.server("b"))
            answer = (await a.anyone.post("/v1/chat/completions", json=chat_body())).json()
            word = {"inference_id": answer["id"], "metric_name": "thumbs", "value": True}
            assert (await b.anyone.post("/v1/feedback", json=word)).status_code == 200


async def test_servers_are_listed_with_what_they_hold(house: House) -> None:
    a, b = await house.server("a"), await house.server("b")
    version = await house.candidate(a)
    assert await promote(a, version) == 200

    async def followed() -> bool:
        listed = (await b.operator.get("/v1/servers")).json()
        (epochs,) = (row["epochs"] for row in listed if row["name"] == "b")
        return bool(epochs["pawl"] == 1)

    await eventually(followed)
    listed = (await b.operator.get("/v1/servers")).json()
    assert [(row["name"], row["state"], row["here"]) for row in listed] == [
        ("a", "ready", False),
        ("b", "ready", True),
    ]
    assert [row["loaded"] for row in listed] == [[version], [version]]
    assert all(0 <= row["heartbeat_age_seconds"] < 10 for row in listed)


async def test_another_base_model_does_not_start(house: House) -> None:
    await house.server("a")
    with pytest.raises(SetupError, match="another base model"):
        await house.server("b", engine={"model": "other"})


async def test_a_server_that_lacks_what_others_hold_is_not_ready(house: House) -> None:
    a, b = await house.server("a"), await house.server("b")
    version = await house.candidate(a)
    assert await promote(a, version) == 200
    await b.engine.unload(version)
    b.engine.faults.refuse_adapters = True

    async def unready() -> bool:
        return str((await b.anyone.get("/health/ready")).json()["adapters"]) == "missing"

    await eventually(unready)
    assert (await b.anyone.get("/health/ready")).status_code == 503
    assert (await a.anyone.get("/health/ready")).status_code == 200


async def test_the_metrics_tell_of_the_servers(house: House) -> None:
    a, _ = await house.server("a"), await house.server("b")

    async def both() -> bool:
        found = samples((await a.anyone.get("/metrics")).text)
        return found["pawl_servers", frozenset({("state", "ready")})] == 2

    await eventually(both)
    found = samples((await a.anyone.get("/metrics")).text)
    assert 0 <= found["pawl_route_age_seconds", frozenset()] < 10
    assert ("pawl_route_refresh_failures_total", frozenset()) in found
    assert found["pawl_route_changes_waiting", frozenset()] == 0


async def test_a_draining_server_says_so(house: House) -> None:
    a, b = await house.server("a"), await house.server("b")
    b.services.drain.begin()

    async def told() -> bool:
        listed = (await a.operator.get("/v1/servers")).json()
        return [row["state"] for row in listed if row["name"] == "b"] == ["draining"]

    await eventually(told)
