"""`pawl serve` with the real engine: deaths that it must survive, and orphans it must not leave."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.engine.vllm.scratch import PREFIX
from tests.integration.processes.serving_process import SERVE, ServingProcess, chat_body, serving
from tests.integration.test_engine_process import name_of, wait_gone
from tests.integration.test_server_process import error_of, open_streams, stored

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(400),
]

CHAT = "/v1/chat/completions"
ENGINE = {
    "PAWL_ENGINE__DTYPE": "float32",
    "PAWL_ENGINE__KV_CACHE_GIB": "0.25",
    "PAWL_ENGINE__HANG_SECONDS": "10",
}
LONG = {"max_tokens": 400, "ignore_eos": True}


FAST = (sys.executable, "-m", "tests.integration.processes.fast_server")


@contextmanager
def engine_server(
    model: Path, data_dir: Path, command: Sequence[str] = FAST
) -> Iterator[ServingProcess]:
    with serving(data_dir, command, model=model, settings=ENGINE) as server:
        yield server


def engine_core(server: ServingProcess) -> int:
    """The process that computes."""
    named = {pid: name_of(pid) for pid in server.family()}
    return next(pid for pid, name in named.items() if name.startswith("VLLM::Engin"))


def left_behind(temporary: Path) -> list[str]:
    """Folders of engines, and sockets beside them."""
    return [path.name for path in temporary.iterdir() if path.name.startswith(PREFIX)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_an_engine_that_dies_or_hangs_is_told_to_streams_and_replaced(
    tiny_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with engine_server(tiny_model, tmp_path / "data") as server:
        family = set(server.family())
        with open_streams(server, 2, **LONG) as streams:
            os.kill(engine_core(server), number)
            for stream in streams:
                error, end = stream.lines.result()[-2:]
                assert (bool(error_of(error)), end) == (True, "data: [DONE]")
        server.wait_ready()
        assert {(stored(server, stream.id) or ("",))[0] for stream in streams} == {"failed"}
        with server.client() as client:
            assert client.post(CHAT, json=chat_body(max_tokens=5)).status_code == 200
        assert wait_gone(sorted(family - {server.process.pid})) == []


def test_a_killed_server_is_replaced_and_its_engine_is_gone(
    tiny_model: Path, tmp_path: Path
) -> None:
    with engine_server(tiny_model, tmp_path / "data", SERVE) as server:
        below = sorted(set(server.family()) - {server.process.pid})
        before = left_behind(server.temporary)
        os.kill(server.server.pid, signal.SIGKILL)
        assert wait_gone(below) == []
        server.wait_ready()
        assert len(before) == len(left_behind(server.temporary)) == 1
        assert before != left_behind(server.temporary)
        with server.client() as client:
            assert client.post(CHAT, json=chat_body(max_tokens=5)).status_code == 200
        family = server.family()
        os.kill(server.process.pid, signal.SIGKILL)
        assert wait_gone(family) == []


def test_a_server_that_is_told_to_end_ends_well_and_takes_its_engine_along(
    tiny_model: Path, tmp_path: Path
) -> None:
    with engine_server(tiny_model, tmp_path / "data") as server:
        family = server.family()
        with open_streams(server, 2, **LONG) as streams:
            server.process.send_signal(signal.SIGTERM)
            for stream in streams:
                lines = stream.lines.result()
                assert ("error" in lines[-2], lines[-1]) == (False, "data: [DONE]")
        assert server.process.wait(60) == 0
        assert wait_gone(family) == []
        assert left_behind(server.temporary) == []
