"""Both parsers, over real sockets: what is too large, too slow, too many."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.server.connections.serving import LARGE, PARSERS, Client, Served, head, serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

CHUNKED = head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked")
MEGABYTE = b"a" * 1_000_000
BODY = head(b"POST / HTTP/1.1", b"Content-Length: 10")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop that the product has."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def served(parser: str, anyio_backend: object) -> AsyncIterator[Served]:
    del anyio_backend
    async with serving(parser) as started:
        yield started


async def answered(served: Served, *pieces: bytes) -> int | None:
    """The status for these bytes on a connection of their own."""
    client = await served.connect()
    sending = asyncio.create_task(client.send(*pieces))
    try:
        return await client.status()
    finally:
        sending.cancel()


async def test_a_request_is_answered(served: Served) -> None:
    assert await answered(served, BODY, b"0123456789") == 200
    assert served.app.bodies == [b"0123456789"]


@pytest.mark.parametrize(
    "headers",
    [
        [b"x: " + MEGABYTE],
        [b"x-%d: %s" % (number, b"a" * 1_000) for number in range(40)],
        [b"x-%d: a" % number for number in range(101)],
        [b"x: a"] * 101,
        [b"a" * 40_000 + b": x"],
        [b"x-%d:" % number for number in range(100_000)],
    ],
    ids=["one", "some", "many", "same", "name", "empty"],
)
async def test_headers_over_a_bound_are_refused(served: Served, headers: list[bytes]) -> None:
    assert await answered(served, head(b"GET / HTTP/1.1", *headers)) == 431
    assert served.app.scopes == []


async def test_headers_without_an_end_are_refused_before_they_are_kept(served: Served) -> None:
    assert await answered(served, b"GET / HTTP/1.1\r\nx: ", *[MEGABYTE] * 50) in (431, None)
    assert served.seen.reasons == ["head_too_large"]


async def test_headers_within_the_bounds_pass(served: Served) -> None:
    few = [b"x-%d: %s" % (number, b"a" * 300) for number in range(98)]
    assert await answered(served, head(b"GET / HTTP/1.1", *few)) == 200


async def test_headers_of_each_request_of_a_connection_count_apart(served: Served) -> None:
    client = await served.connect()
    for _ in range(5):
        await client.send(head(b"GET / HTTP/1.1", b"x: " + b"a" * 30_000))
        assert await client.status() == 200


@pytest.mark.parametrize("size", [8_193, 20_000, 5_000_000])
async def test_a_long_target_is_refused(served: Served, size: int) -> None:
    target = b"GET /" + b"a" * size + b" HTTP/1.1"
    assert await answered(served, head(target)) in (414, 431)
    assert served.app.scopes == []


async def test_a_long_query_is_refused(served: Served) -> None:
    assert await answered(served, head(b"GET /?" + b"a" * 8_192 + b" HTTP/1.1")) == 414


async def test_a_method_without_an_end_is_refused(served: Served) -> None:
    assert await answered(served, *[b"A" * 100_000] * 10) in (400, 431, None)
    served.after(10)
    await served.counted(0)


async def test_empty_lines_for_ever_are_refused(served: Served) -> None:
    assert await answered(served, *[b"\r\n" * 10_000] * 50) in (400, 431, None)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"2\r\n{}\r\n0\r\nx: ", *[MEGABYTE] * 5],
        [b"2\r\n{}\r\n0\r\n", *[b"x: a\r\n" * 10_000] * 20],
        [b"2;x=", *[MEGABYTE] * 5],
        [b"1;x=" + b"a" * 20_000 + b"\r\na\r\n"] * 200,
    ],
    ids=["trailer", "trailers", "extension", "extensions"],
)
async def test_padding_around_a_body_is_refused(served: Served, pieces: list[bytes]) -> None:
    assert await answered(served, CHUNKED, *pieces) in (400, 431, None)
    assert served.app.bodies == []
    served.after(10)
    await served.counted(0)


async def test_trailers_do_not_become_headers(served: Served) -> None:
    assert await answered(served, CHUNKED, b"2\r\n{}\r\n0\r\nauthorization: x\r\n\r\n") == 200
    assert b"authorization" not in dict(served.app.scopes[0]["headers"])


async def test_a_body_in_chunks_of_one_byte_passes(served: Served) -> None:
    assert await answered(served, CHUNKED, b"1\r\na\r\n" * 50_000, b"0\r\n\r\n") == 200
    assert len(served.app.bodies[0]) == 50_000


async def test_what_is_no_http_is_refused(served: Served) -> None:
    assert await answered(served, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n") == 400


@pytest.mark.parametrize(
    ("begun", "seconds", "status"),
    [
        (b"", 21, None),
        (b"GET / HT", 21, 408),
        (b"GET / HTTP/1.1\r\nx: ", 21, 408),
        (BODY, 61, 408),
        (BODY + b"01234", 61, 408),
        (CHUNKED, 61, 408),
        (CHUNKED + b"2;x=a", 61, 408),
    ],
    ids=["silent", "target", "header", "no body", "half", "chunked", "extension"],
)
async def test_a_request_that_does_not_arrive_is_cut_off(
    served: Served, begun: bytes, seconds: float, status: int | None
) -> None:
    client = await begin(served, begun)
    served.after(seconds - 2)
    await served.counted(1)
    served.after(seconds)
    assert await client.status() == status
    await client.closed()


async def begin(served: Served, begun: bytes) -> Client:
    """A client of whose request the server has read so much."""
    client = await served.connect()
    await client.send(begun)
    await served.counted(1)
    for _ in range(20):  # the server reads in the same loop
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    return client


async def test_a_route_that_waits_for_a_late_body_is_told_that_the_client_is_gone(
    served: Served,
) -> None:
    client = await begin(served, BODY + b"01234")
    served.after(61)
    await served.app.left.wait()
    assert await client.status() == 408


async def test_an_empty_line_does_not_begin_a_request(served: Served) -> None:
    client = await begin(served, b"\r\n")
    served.after(30)
    assert await client.status() in (400, None)
    await client.closed()


async def test_a_trickle_does_not_gain_time(served: Served) -> None:
    client = await begin(served, b"GET / HTTP/1.1\r\nx: ")
    for _ in range(10):
        await client.send(b"a")
        await asyncio.sleep(0.001)
    served.after(20.5)
    assert await client.status() == 408


async def test_an_idle_connection_is_kept_and_then_closed(served: Served) -> None:
    client = await served.connect()
    await client.send(head(b"GET / HTTP/1.1"))
    assert await client.status() == 200
    served.after(70)
    await client.send(head(b"GET / HTTP/1.1"))
    assert await client.status() == 200
    served.after(80)
    await client.closed()
    assert served.seen.reasons == ["idle"]


async def test_an_answer_may_take_any_time_to_be_made(served: Served) -> None:
    client = await served.connect()
    await client.send(head(b"GET /slow HTTP/1.1"))
    assert await client.reader.readuntil(b"a") is not None
    served.after(100_000)
    served.app.going_on.set()
    assert (await client.reader.read(10)).endswith(b"b")


async def test_an_answer_that_nobody_reads_is_cut_off(served: Served) -> None:
    client = await served.connect(limit=1_024)
    await client.send(head(b"GET /large HTTP/1.1"))
    await client.reader.readuntil(b"\r\n\r\n")  # then it reads no further
    served.after(10)
    await served.counted(1)
    served.after(31)
    await served.counted(0)
    assert served.seen.reasons == ["answer_unread"]
    with pytest.raises(ConnectionResetError):  # and its kernel keeps nothing for it
        await read_all(client)


async def read_all(client: Client) -> None:
    while await client.reader.read(LARGE):
        pass


async def test_an_answer_that_is_read_is_sent_whole(served: Served) -> None:
    client = await served.connect()
    await client.send(head(b"GET /large HTTP/1.1"))
    whole = asyncio.create_task(client.status())
    while not whole.done():
        served.after(0)
        await asyncio.sleep(0.001)
    assert await whole == 200
    assert LARGE
    assert served.seen.reasons == []


async def test_the_rest_of_a_refused_body_is_thrown_away_and_the_connection_closed(
    served: Served,
) -> None:
    client = await served.connect()
    request = head(b"POST /early HTTP/1.1", b"Content-Length: 100000000")
    await client.send(request, MEGABYTE)
    assert await client.status() == 413
    await client.send(MEGABYTE)
    served.after(10)
    await client.closed()


async def test_a_body_that_ends_after_its_answer_leaves_the_connection_open(
    parser: str,
) -> None:
    async with serving(parser) as served:
        client = await served.connect()
        await client.send(head(b"POST /early HTTP/1.1", b"Content-Length: 4"))
        assert await client.status() == 413
        await client.send(b"rest" + head(b"GET / HTTP/1.1"))
        assert await client.status() == 200


async def test_requests_far_ahead_of_their_answers_are_cut_off(served: Served) -> None:
    client = await served.connect()
    await client.send(head(b"GET /slow HTTP/1.1"), *[head(b"GET / HTTP/1.1") * 10_000] * 3)
    await client.closed()
    assert len(served.app.scopes) == 1


async def test_a_few_requests_ahead_are_answered_in_order(served: Served) -> None:
    client = await served.connect()
    bodies = [b"a" * size for size in range(4)]
    requests = [
        head(b"POST / HTTP/1.1", b"Content-Length: %d" % len(body)) + body for body in bodies
    ]
    await client.send(b"".join(requests))
    assert [await client.status() for _ in bodies] == [200] * 4
    assert served.app.bodies == bodies


def few(parser: str, **http: Any) -> AbstractAsyncContextManager[Served]:
    return serving(parser, **{"connections": 3, **http})


async def test_a_connection_too_many_has_the_longest_waiting_one_closed(parser: str) -> None:
    async with few(parser) as served:
        clients = []
        for number in range(4):
            clients.append(await served.connect())
            await served.counted(min(number + 1, 3))
        await clients[0].closed()
        await clients[3].send(head(b"GET / HTTP/1.1"))
        assert await clients[3].status() == 200
        assert served.seen.reasons == ["made_room"]


@pytest.mark.parametrize("http", [{}, {"connections": 100, "connections_per_peer": 3}])
async def test_a_connection_too_many_is_told_so_while_all_are_answered(
    parser: str, http: dict[str, int]
) -> None:
    async with few(parser, **http) as served:
        for _ in range(3):
            client = await served.connect()
            await client.send(head(b"GET /slow HTTP/1.1"))
            await client.reader.readuntil(b"a")
        last = await served.connect()
        assert await last.status() == 503
        assert served.seen.reasons == ["too_many_connections"]


async def test_another_protocol_is_not_spoken(served: Served) -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    status = await answered(
        served, head(b"GET / HTTP/1.1", *upgrade, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    )
    assert status == 200
    assert served.app.scopes[0]["type"] == "http"
