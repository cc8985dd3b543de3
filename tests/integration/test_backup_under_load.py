"""A backup that is taken while feedback pours into a real server, restored and served again."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.adapters.adapter_files import make_adapter
from tests.integration.processes.serving_process import (
    UNSUPERVISED,
    ServingProcess,
    chat_body,
    serving,
)
from tests.postgres_fixture import TestDatabases

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("cli")]

BEFORE, CLIENTS = 200, 8


@dataclass(slots=True)
class Posts:
    """Feedback of several clients, each with an id of its own."""

    url: str
    rated: str
    acknowledged: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    def pour(self, client: int) -> None:
        number = 0
        with httpx.Client(base_url=self.url, timeout=30) as session:
            while not self.stop.is_set():
                self._post(session, f"{client}-{number}")
                number += 1

    def _post(self, session: httpx.Client, identifier: str) -> None:
        body = {
            "id": identifier,
            "inference_id": self.rated,
            "metric_name": "comment",
            "value": f"comment {identifier}",
        }
        answer = session.post("/v1/feedback", json=body)
        if answer.is_success:
            self.acknowledged.add(identifier)
        else:
            self.failures.append(answer.text)
        if len(self.acknowledged) >= BEFORE:
            self.enough.set()


def pawl(variables: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "server.cli", *arguments, "--json"],
        env={**os.environ, "PAWL_ENGINE__KIND": "fake", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def live(served: ServingProcess) -> str:
    with served.client() as client:
        return str(client.get("/v1/route").json()["live"])


def with_adapter(served: ServingProcess, folder: Path) -> str:
    """A new live version; its name."""
    make_adapter(folder)
    with served.client() as client:
        added = client.post("/v1/adapters", json={"channel": "pawl", "path": str(folder)})
        name = str(added.json()["name"])
        promoted = client.post(f"/v1/adapters/{name}/promote", json={"reason": "a test"})
    assert promoted.is_success
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def variables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What tells `pawl` where its data is, on either database."""
    found = {"PAWL_DATA_DIR": str(tmp_path / "data")}
    if request.param == "sqlite":
        yield found
        return
    databases: TestDatabases = request.getfixturevalue("postgres")
    with databases.database(empty=True) as url:
        yield {**found, "PAWL_DATABASE_URL": url}


def test_what_was_acknowledged_before_it_began_is_restored_and_served(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    with serving(tmp_path / "data", UNSUPERVISED, settings=variables) as served:
        version = with_adapter(served, tmp_path / "adapter")
        with served.client() as client:
            rated = str(client.post("/v1/chat/completions", json=chat_body()).json()["id"])
        posts = Posts(served.server.url, rated)
        threads = [threading.Thread(target=posts.pour, args=(one,)) for one in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            assert posts.enough.wait(60)
            before = set(posts.acknowledged)
            pawl(variables, "backup", str(tmp_path / "backup"))
            during = len(posts.acknowledged) - len(before)
        finally:
            posts.stop.set()
            for thread in threads:
                thread.join()
    assert (posts.failures, during > 0) == ([], True)
    restored = {"PAWL_DATA_DIR": str(tmp_path / "restored")}
    pawl(restored, "restore", str(tmp_path / "backup"))
    with serving(tmp_path / "restored", UNSUPERVISED) as served:
        with served.client() as client:
            kept = client.get(f"/v1/interactions/{rated}").json()["feedback"]
            late = {"inference_id": rated, "metric_name": "thumbs", "value": True}
            assert client.post("/v1/feedback", json=late).is_success
        assert before <= {word["id"] for word in kept} <= posts.acknowledged
        assert live(served) == version
