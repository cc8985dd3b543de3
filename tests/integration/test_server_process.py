"""The server as processes: drains, deaths of clients, engines, servers and supervisors."""

import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.adapters.adapter_files import make_adapter
from tests.integration.processes.mortal_server import REAPER, SANDMAN
from tests.integration.processes.serving_process import (
    SERVE,
    UNSUPERVISED,
    ServingProcess,
    chat_body,
    serving,
)
from tests.integration.test_engine_process import wait_gone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CHAT = "/v1/chat/completions"
COMPARISONS = "/v1/comparisons"
SLOW = {"PAWL_ENGINE__FAKE_TOKEN_DELAY_SECONDS": "0.2"}
NEVER_ENDING = {"PAWL_ENGINE__FAKE_TOKEN_DELAY_SECONDS": "20"}
MORTAL = (sys.executable, "-m", "tests.integration.processes.mortal_server")


class OpenStream:
    """A stream that somebody reads, in a thread."""

    def __init__(self, server: ServingProcess, pool: ThreadPoolExecutor, **fields: Any) -> None:
        self.client = server.client()
        path = fields.pop("path", CHAT)
        self._context = self.client.stream("POST", path, json=chat_body(stream=True, **fields))
        self.response = self._context.__enter__()
        self.lines: Future[list[str]] = pool.submit(self._read)

    @property
    def id(self) -> str:
        return self.response.headers["x-pawl-interaction"]

    def _read(self) -> list[str]:
        try:
            return [line for line in self.response.iter_lines() if line]
        finally:
            self._context.__exit__(None, None, None)
            self.client.close()


@contextmanager
def open_streams(server: ServingProcess, number: int, **fields: Any) -> Iterator[list[OpenStream]]:
    with ThreadPoolExecutor(number) as pool:
        yield [OpenStream(server, pool, **fields) for _ in range(number)]


def stored(server: ServingProcess, identifier: str) -> tuple[str, str | None, int] | None:
    """Status, error and tokens of an interaction, read beside the server or after its end."""
    connection = sqlite3.connect(server.data_dir / "pawl.db")
    try:
        query = "SELECT status, error, completion_tokens FROM interaction WHERE id = ?"
        row: tuple[str, str | None, int] | None = connection.execute(
            query, (identifier,)
        ).fetchone()
        return row
    finally:
        connection.close()


def wait_stored(server: ServingProcess, identifier: str) -> tuple[str, str | None, int]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (row := stored(server, identifier)) is not None:
            return row
        time.sleep(0.02)
    raise AssertionError("the interaction was not stored")


def wait_draining(server: ServingProcess) -> None:
    """Return once readiness says that the server is ending."""
    with server.client() as client:
        while client.get("/health/ready").status_code == httpx.codes.OK:
            time.sleep(0.01)


def error_of(line: str) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(line.removeprefix("data: "))["error"]
    return error


def test_a_drain_lets_streams_finish_and_turns_new_work_away(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "data", UNSUPERVISED, settings=SLOW) as server,
        open_streams(server, 3) as streams,
    ):
        server.process.send_signal(signal.SIGTERM)
        wait_draining(server)
        with server.client() as client:
            refused = client.post(CHAT, json=chat_body())
        assert (refused.status_code, bool(refused.headers["retry-after"])) == (503, True)
        for stream in streams:
            lines = stream.lines.result()
            assert lines[-1] == "data: [DONE]"
            assert "error" not in lines[-2]
        assert server.process.wait(30) == 0
    assert [stored(server, stream.id)[0] for stream in streams] == ["complete"] * 3  # type: ignore[index]


def test_what_does_not_finish_in_time_is_told_so(tmp_path: Path) -> None:
    settings = {**SLOW, "PAWL_SERVER__DRAIN_SECONDS": "0.3"}
    with (
        serving(tmp_path / "data", UNSUPERVISED, settings=settings) as server,
        open_streams(server, 2) as streams,
    ):
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            error, end = stream.lines.result()[-2:]
            assert error_of(error)["type"] == "service_unavailable_error"
            assert end == "data: [DONE]"
        assert server.process.wait(30) == 0
    for stream in streams:
        row = stored(server, stream.id)
        assert row is not None
        assert row[:2] == ("failed", "DrainingError")


def test_an_answer_in_one_piece_that_does_not_finish_is_a_503(tmp_path: Path) -> None:
    settings = {**NEVER_ENDING, "PAWL_SERVER__DRAIN_SECONDS": "0.3"}
    with (
        serving(tmp_path / "data", UNSUPERVISED, settings=settings) as server,
        ThreadPoolExecutor(1) as pool,
        server.client() as client,
    ):
        answer = pool.submit(client.post, CHAT, json=chat_body())
        wait_in_flight(server)
        server.process.send_signal(signal.SIGTERM)
        assert answer.result().status_code == 503
        assert server.process.wait(30) == 0


def wait_in_flight(server: ServingProcess) -> None:
    """Return once the server has read a request (its socket has nothing more to read)."""
    with server.client() as client:
        for _ in range(20):  # each is behind the request that was sent before
            assert client.get("/health/live").status_code == 200


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "data", UNSUPERVISED, settings=SLOW) as server,
        open_streams(server, 1) as (stream,),
    ):
        server.process.send_signal(signal.SIGTERM)
        wait_draining(server)
        server.process.send_signal(signal.SIGTERM)
        assert error_of(stream.lines.result()[-2])
        assert server.process.wait(30) == 0


TRAINER = ("tests/retrain/fake_trainer.py", "hangs")
RUNS = {
    "PAWL_RETRAIN__TRAINER__COMMAND": json.dumps([sys.executable, *TRAINER]),
    "PAWL_RETRAIN__JUDGE": "bench.workloads.adapter_judge:likes_adapters",
    "PAWL_RETRAIN__MINIMUM_PAIRS": "1",
    "PAWL_RETRAIN__PAIRS__HELD_OUT_SHARE": "0",
}


def trainers(server: ServingProcess) -> list[int]:
    """The trainers below the server."""
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in server.family()}
    return [pid for pid, command in commands.items() if TRAINER[0].encode() in command]


def test_a_drain_ends_the_trainer_and_lets_go_of_its_run(tmp_path: Path) -> None:
    with serving(tmp_path / "data", settings=RUNS) as server:
        with server.client() as client:
            rated = client.post(CHAT, json=chat_body(user="somebody")).json()["id"]
            better = {"inference_id": rated, "metric_name": "demonstration", "value": "In August."}
            assert client.post("/v1/feedback", json=better).status_code == 200
            assert client.post("/v1/runs", json={"channel": "pawl"}).status_code == 202
        deadline = time.monotonic() + 60
        while not (found := trainers(server)) and time.monotonic() < deadline:
            time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert len(found) == 1
        assert wait_gone(found) == []
    with closing(sqlite3.connect(server.data_dir / "pawl.db")) as database:
        runs = database.execute("SELECT state, step, owner FROM run").fetchall()
    assert runs == [("running", "train", None)]


def send_and_vanish(server: ServingProcess, body: dict[str, Any], *, read: bool) -> str | None:
    """Ask, read the head of the answer perhaps, and be gone as after kill -9: a reset."""
    address = urlsplit(server.server.url)
    content = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(head.encode() + content)
        identifier = None
        if read:
            said = b""
            while b"\r\n\r\n" not in said or b"data:" not in said:
                said += connection.recv(65536)
            lines = said.decode().lower().split("\r\n")
            (line,) = [line for line in lines if line.startswith("x-pawl-interaction")]
            identifier = line.partition(":")[2].strip()
        else:
            wait_in_flight(server)
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    return identifier


def test_a_stream_whose_client_is_gone_is_stored_as_aborted(tmp_path: Path) -> None:
    with serving(tmp_path / "data", UNSUPERVISED, settings=SLOW) as server:
        identifier = send_and_vanish(server, chat_body(stream=True), read=True)
        status, _, tokens = wait_stored(server, str(identifier))
        assert status == "aborted"
        assert 0 < tokens < 6


def test_an_answer_whose_client_is_gone_is_stored_as_aborted(tmp_path: Path) -> None:
    with serving(tmp_path / "data", UNSUPERVISED, settings=NEVER_ENDING) as server:
        send_and_vanish(server, chat_body(user="gone"), read=False)
        deadline = time.monotonic() + 10
        while not (rows := by_user(server, "gone")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert rows == ["aborted"]


def by_user(server: ServingProcess, user: str) -> list[str]:
    connection = sqlite3.connect(server.data_dir / "pawl.db")
    try:
        query = "SELECT status FROM interaction WHERE user = ?"
        return [status for (status,) in connection.execute(query, (user,))]
    finally:
        connection.close()


def test_a_dead_engine_ends_streams_with_an_error_and_the_process_with_70(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "data", MORTAL, settings=SLOW) as server,
        open_streams(server, 2) as streams,
    ):
        with server.client() as client:
            assert client.post(CHAT, json=chat_body(user=REAPER)).status_code == 503
        for stream in streams:
            error, end = stream.lines.result()[-2:]
            assert error_of(error)["type"] == "service_unavailable_error"
            assert end == "data: [DONE]"
        assert server.process.wait(30) == 70
    assert {stored(server, stream.id)[0] for stream in streams} == {"failed"}  # type: ignore[index]


HANGS = {**SLOW, "PAWL_ENGINE__HANG_SECONDS": "2", "PAWL_ENGINE__CANARY_SECONDS": "0.5"}


def test_a_hanging_engine_ends_every_kind_of_answer_and_the_process_with_70(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "data", MORTAL, settings=HANGS) as server,
        open_streams(server, 1) as (alone,),
        open_streams(server, 1, n=2) as (double,),
        open_streams(server, 1, path=COMPARISONS) as (blind,),
        server.client() as client,
    ):
        refused = client.post(CHAT, json=chat_body(user=SANDMAN))
        assert (refused.status_code, bool(refused.headers["retry-after"])) == (503, True)
        for stream in (alone, double):
            error, end = stream.lines.result()[-2:]
            assert error_of(error)["type"] == "service_unavailable_error"
            assert end == "data: [DONE]"
        *_, first, second, end = blind.lines.result()
        assert {error_of(line)["type"] for line in (first, second)} == {"service_unavailable_error"}
        assert end == "data: [DONE]"
        assert server.process.wait(30) == 70
    assert "engine_hangs" in server.log
    assert by_status(server) == {"failed": 5}


def test_an_engine_that_hangs_while_nobody_asks_is_found(tmp_path: Path) -> None:
    with serving(tmp_path / "data", MORTAL, settings=HANGS) as server:
        send_and_vanish(server, chat_body(user=SANDMAN), read=False)
        assert server.process.wait(30) == 70
    assert "engine_hangs" in server.log


def by_status(server: ServingProcess) -> dict[str, int]:
    """Interactions in the log, by their status."""
    connection = sqlite3.connect(server.data_dir / "pawl.db")
    try:
        return dict(connection.execute("SELECT status, count(*) FROM interaction GROUP BY status"))
    finally:
        connection.close()


def test_the_supervisor_replaces_a_server_whose_event_loop_stands_still(tmp_path: Path) -> None:
    with serving(tmp_path / "data", settings={"PAWL_SERVER__HANG_SECONDS": "2"}) as server:
        stopped = server.server.pid
        os.kill(stopped, signal.SIGSTOP)
        server.wait_ready()
        assert wait_gone([stopped]) == []
        with server.client() as client:
            assert client.post(CHAT, json=chat_body()).status_code == 200
            assert "pawl_server_restarts_total 1.0" in client.get("/metrics").text
    assert "server_hangs" in server.log


def test_the_live_version_answers_again_after_a_death(tmp_path: Path) -> None:
    with serving(tmp_path / "data", (*MORTAL, "supervise")) as server:
        with server.client() as client:
            path = str(make_adapter(tmp_path / "adapter", 1))
            name = client.post("/v1/adapters", json={"path": path}).json()["name"]
            client.post(f"/v1/adapters/{name}/promote", json={"reason": "test"})
            assert client.post(CHAT, json=chat_body(user=REAPER)).status_code == 503
        server.wait_ready()
        with server.client() as client:
            answered = client.post(CHAT, json=chat_body())
        assert (answered.status_code, answered.headers["x-pawl-version"]) == (200, name)


def test_the_supervisor_replaces_a_server_whose_engine_died(tmp_path: Path) -> None:
    with serving(tmp_path / "data", (*MORTAL, "supervise")) as server:
        for _ in range(2):
            with server.client() as client:
                assert client.post(CHAT, json=chat_body(user=REAPER)).status_code == 503
            server.wait_ready()
        with server.client() as client:
            assert client.post(CHAT, json=chat_body()).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def test_the_supervisor_replaces_a_server_that_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        with server.client() as client:
            identifier = client.post(CHAT, json=chat_body()).json()["id"]
        os.kill(server.server.pid, signal.SIGKILL)
        server.wait_ready()
        with server.client() as client:
            assert client.get(f"/v1/interactions/{identifier}").status_code == 200
            assert client.post(CHAT, json=chat_body()).status_code == 200


def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        family = server.family()
        assert server.server.pid in family
        os.kill(server.process.pid, signal.SIGKILL)
        assert wait_gone(family) == []


def test_a_second_server_on_the_same_folder_gives_up_with_2(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        command = [*SERVE, "--engine", "fake", "--data-dir", str(tmp_path / "data"), "--port", "0"]
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 2
        assert "another server works on" in second.stderr
        with server.client() as client:
            assert client.post(CHAT, json=chat_body()).status_code == 200


def test_a_server_that_may_not_listen_says_why_and_gives_up(tmp_path: Path) -> None:
    open_to_all = {"PAWL_SERVER__HOST": "0.0.0.0"}  # noqa: S104
    with (
        pytest.raises(AssertionError, match="pawl keys create"),
        serving(tmp_path / "data", settings=open_to_all),
    ):
        pytest.fail("it started")
