"""Servers as processes on one PostgreSQL: changed under load, stopped, killed and started again."""

from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from bench.faults import servers
from tests.adapters.adapter_files import make_adapter
from tests.integration.processes.serving_process import (
    UNSUPERVISED,
    ServingProcess,
    chat_body,
    serving,
)
from tests.postgres_fixture import TestDatabases

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("servers")]


def test_routes_change_under_load_while_a_server_stops_and_goes_on(tmp_path: Path) -> None:
    seen = servers.run(tmp_path, changes=2, pauses=1, dead_seconds=3)
    assert (len(seen.promotions), len(seen.paused_rollbacks), len(seen.paused_promotions)) == (
        3,
        1,
        1,
    )
    assert (seen.failed, seen.mixed, seen.old) == (0, 0, 0)
    assert len(seen.held) > 0
    assert max(seen.late()) <= servers.LIMIT_SECONDS


def promoted(server: ServingProcess, folder: Path, seed: int) -> str:
    """A new version that is live; its name."""
    adapter = make_adapter(folder / f"adapter-{seed}", seed)
    with server.client(timeout=120) as client:
        name = str(client.post("/v1/adapters", json={"path": str(adapter)}).json()["name"])
        promotion = client.post(f"/v1/adapters/{name}/promote", json={})
        assert promotion.status_code == httpx.codes.OK, promotion.text
    return name


def answered_by(server: ServingProcess) -> str:
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=chat_body())
        return str(answer.headers["x-pawl-version"])


def states(server: ServingProcess) -> dict[str, str]:
    """The servers' states, by name."""
    with server.client() as client:
        return {row["name"]: row["state"] for row in client.get("/v1/servers").json()}


def test_a_killed_server_blocks_nothing_for_long_and_comes_back_with_what_is_live(
    tmp_path: Path, postgres: TestDatabases
) -> None:
    with postgres.database() as url, started(tmp_path, "a", url) as a:
        with started(tmp_path, "b", url) as b:
            first = promoted(a, tmp_path, 1)
            assert answered_by(b) == first
            b.process.kill()
            b.process.wait()
        second = promoted(a, tmp_path, 2)
        assert states(a) == {"a": "ready", "b": "dead"}
        with started(tmp_path, "b", url) as b:
            assert answered_by(b) == second
            assert states(b) == {"a": "ready", "b": "ready"}


def started(folder: Path, name: str, url: str) -> AbstractContextManager[ServingProcess]:
    """A server of that name, and its own data folder."""
    (folder / name).mkdir(exist_ok=True)
    settings = {
        "PAWL_DATABASE_URL": url,
        "PAWL_ADAPTERS__STORE": str(folder / "adapters"),
        "PAWL_ADAPTERS__CLUSTER__NAME": name,
        "PAWL_ADAPTERS__CLUSTER__DEAD_SECONDS": "2",
    }
    return serving(folder / name / "data", UNSUPERVISED, settings=settings)
