"""The server as it is started keeps to the bounds of `[server.http]`."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.processes.serving_process import (
    UNSUPERVISED,
    ServingProcess,
    chat_body,
    serving,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

QUICK = {
    "PAWL_SERVER__HTTP__HEAD_SECONDS": "0.5",
    "PAWL_SERVER__HTTP__WRITE_SECONDS": "1",
    "PAWL_SERVER__HTTP__CONNECTIONS": "20",
}
MEGABYTE = b"a" * 1_000_000
GROWTH_BYTES_MAX = 30_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    folder = tmp_path_factory.mktemp("bounds") / "data"
    with serving(folder, UNSUPERVISED, settings=QUICK) as started:
        yield started


def connect(server: ServingProcess, *, receive_buffer: int | None = None) -> socket.socket:
    address = urlsplit(server.server.url)
    made = socket.socket()
    made.settimeout(60)
    if receive_buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.connect((address.hostname, address.port))
    return made


def peak_bytes(server: ServingProcess) -> int:
    lines = Path(f"/proc/{server.server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def test_endless_headers_take_no_memory(server: ServingProcess) -> None:
    with server.client() as client:
        client.get("/v1/models")
    before = peak_bytes(server)
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nx: ")
        with suppress(OSError):
            for _ in range(60):
                connection.sendall(MEGABYTE)
    assert peak_bytes(server) - before < GROWTH_BYTES_MAX


def test_headers_over_the_bound_are_told_so(server: ServingProcess) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nx: " + b"a" * 60_000)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 431 ")


def test_who_sends_nothing_is_cut_off(server: ServingProcess) -> None:
    with connect(server) as connection:
        assert connection.recv(1) == b""


def test_who_reads_nothing_is_cut_off(server: ServingProcess) -> None:
    with server.client() as client:
        large = {"model": "m", "messages": [{"role": "user", "content": "q" * 900_000}]}
        stored = client.post("/v1/interactions", json={**large, "choices": [{"text": "a"}]})
    path = f"/v1/interactions/{stored.json()['inference_id']}"
    token = server.server.token
    wanted = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    with connect(server, receive_buffer=4_096) as connection:
        connection.sendall(wanted.encode() * 8)
        reset = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        while not reset and server_has_it_open(connection):
            reset = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def server_has_it_open(connection: socket.socket) -> bool:
    """Whether the connection is established: its first byte of TCP_INFO is 1 then (tcp(7))."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1


def test_others_are_served_while_connections_are_held(server: ServingProcess) -> None:
    held = [connect(server) for _ in range(40)]
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=chat_body()).status_code == 200
        told = client.get("/metrics").text
    assert 'pawl_http_connections_closed_total{reason="made_room"}' in told
    for connection in held:
        connection.close()
