"""Feedback that was acknowledged is there: after kill -9, and, by its system calls, after worse."""

import asyncio
import random
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench import durability
from bench.support.log_stores import DATABASES, DatabaseKind
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.sync_trace import NotSyncedError, order_of, read_calls, strace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.anyio]

MARKERS = [f"traced-post-{number:04}" for number in range(24)]
CONNECTION = "TCP:[127.0.0.1:8000->127.0.0.1:50000]"


@pytest.mark.parametrize("database", DATABASES)
async def test_three_kills_lose_nothing_that_was_acknowledged_and_double_nothing(
    tmp_path: Path, database: DatabaseKind
) -> None:
    outcome = await durability.run(tmp_path, kills=3, rng=random.Random(0), database=database)
    assert [kill.lost for kill in outcome.kills] == [0, 0, 0]
    assert (outcome.missing, outcome.doubled, outcome.invented) == (0, 0, 0)
    assert outcome.stored == outcome.sent
    assert [kill.orphans for kill in outcome.kills] == [0, 0, 0]
    assert min(kill.in_flight for kill in outcome.kills) >= durability.LEAST_IN_FLIGHT


async def test_the_log_is_synced_before_feedback_is_acknowledged(tmp_path: Path) -> None:
    assert shutil.which("strace"), "strace is not installed: run `make system`"
    trace = tmp_path / "trace.txt"
    with stopping(start_pawl(tmp_path / "data", prefix=strace(trace))) as server:
        await post_all(server)
    calls = read_calls(trace.read_text().splitlines())
    for marker in MARKERS:
        order = order_of(calls, marker.encode())
        assert order.committed < order.synced < order.acknowledged


async def post_all(server: ServerProcess) -> None:
    """One post after the other, then eight at a time, so that some share a transaction."""
    body = {"model": "pawl", "messages": [{"role": "user", "content": "When?"}]}
    rated = (await answer(server, "/v1/chat/completions", body))["id"]
    alone, together = MARKERS[:8], MARKERS[8:]
    for marker in alone:
        await rate(server, rated, marker)
    for start in range(0, len(together), 8):
        await asyncio.gather(
            *(rate(server, rated, marker) for marker in together[start : start + 8])
        )


async def rate(server: ServerProcess, rated: str, marker: str) -> None:
    body = {"id": marker, "inference_id": rated, "metric_name": "thumbs", "value": True}
    stored = await answer(server, "/v1/feedback", body)
    assert stored == {"feedback_id": marker}


async def answer(server: ServerProcess, path: str, body: dict[str, Any]) -> Any:
    """Ask on a connection of its own."""
    async with (
        aiohttp.ClientSession(server.url, headers=server.headers) as session,
        session.post(path, json=body) as response,
    ):
        response.raise_for_status()
        return await response.json()


def hexed(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def log_write(data: bytes) -> str:
    return f'7 pwrite64(4<{hexed(b"/d/pawl.db-wal")}>, "{hexed(data)}", {len(data)}, 0) = 9'


HEADER = log_write(bytes(3) + b"\x05" + bytes(3) + b"\x00" + bytes(16))
COMMIT_HEADER = log_write(bytes(3) + b"\x05" + bytes(3) + b"\x09" + bytes(16))
PAGE = log_write(b"...marker...")
LAST_PAGE = log_write(b"an index")
SYNC = f"7 fdatasync(4<{hexed(b'/d/pawl.db-wal')}>) = 0"
SYNC_BEGINS = f"7 fdatasync(4<{hexed(b'/d/pawl.db-wal')}> <unfinished ...>"
SYNC_ENDS = "7 <... fdatasync resumed>) = 0"
HEAD = f'6 write(9<{CONNECTION}>, "{hexed(b"HTTP/1.1 200 OK")}", 15) = 15'
BODY = f'6 write(9<{CONNECTION}>, "{hexed(b"{marker}")}", 8) = 8'
ROW = [HEADER, PAGE, COMMIT_HEADER, LAST_PAGE]


def test_a_trace_in_order_gives_its_places() -> None:
    order = order_of(read_calls([*ROW, SYNC_BEGINS, SYNC_ENDS, HEAD, BODY]), b"marker")
    assert (order.committed, order.synced, order.acknowledged) == (3, 5, 6)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([*ROW, HEAD, BODY], "never synced"),
        ([*ROW, HEAD, SYNC, BODY], "the answer left"),
        ([*ROW, SYNC_BEGINS, HEAD, BODY, SYNC_ENDS], "the answer left"),
        ([HEADER, PAGE, SYNC, COMMIT_HEADER, LAST_PAGE, HEAD, BODY], "never synced"),
        ([HEADER, PAGE, SYNC, HEAD, BODY], "never committed"),
        ([SYNC, HEAD, BODY], "never written"),
        ([*ROW, SYNC], "0 connections"),
    ],
)
def test_a_trace_out_of_order_is_refused(lines: list[str], why: str) -> None:
    with pytest.raises(NotSyncedError, match=why):
        order_of(read_calls(lines), b"marker")
