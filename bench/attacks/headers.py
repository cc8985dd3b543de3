"""S2: endless headers, request targets, trailers and chunk extensions."""

from collections.abc import Callable, Iterator

from bench.attacks.attack import Attack, AttackError, Target
from bench.attacks.sockets import head, pour

MEGABYTE = 1_000_000
_START = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_CHUNKED = head(
    "POST", "/v1/feedback", "Content-Type: application/json", "Transfer-Encoding: chunked"
)


def _pour(target: Target, pieces: Callable[[], Iterator[bytes]]) -> str:
    status, sent = pour(target.port, pieces())
    seen = f"{status} after {sent / MEGABYTE:.1f} MB"
    if status.startswith("2"):
        raise AttackError(seen)
    return seen


def _many_large_headers() -> Iterator[bytes]:
    yield _START
    for number in range(155):
        yield f"x-{number}: ".encode() + b"a" * MEGABYTE + b"\r\n"
    yield b"\r\n"


def _one_header() -> Iterator[bytes]:
    yield _START + b"x: "
    for _ in range(60):
        yield b"a" * MEGABYTE
    yield b"\r\n\r\n"


def _small_headers() -> Iterator[bytes]:
    yield _START
    for block in range(300):
        yield b"".join(b"x-%d: a\r\n" % (block * 1_000 + number) for number in range(1_000))
    yield b"\r\n"


def _target() -> Iterator[bytes]:
    yield b"GET /"
    for _ in range(60):
        yield b"a" * MEGABYTE
    yield b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def _trailer() -> Iterator[bytes]:
    yield _CHUNKED + b"2\r\n{}\r\n0\r\nx: "
    for _ in range(60):
        yield b"a" * MEGABYTE
    yield b"\r\n\r\n"


def _extension() -> Iterator[bytes]:
    yield _CHUNKED + b"2;x="
    for _ in range(60):
        yield b"a" * MEGABYTE
    yield b"\r\n{}\r\n0\r\n\r\n"


def many_large_headers(target: Target) -> str:
    """155 headers of 1 MB."""
    return _pour(target, _many_large_headers)


def one_header(target: Target) -> str:
    """One header of 60 MB."""
    return _pour(target, _one_header)


def small_headers(target: Target) -> str:
    """300,000 headers of a few bytes."""
    return _pour(target, _small_headers)


def long_target(target: Target) -> str:
    """A target of 60 MB."""
    return _pour(target, _target)


def trailer(target: Target) -> str:
    """A trailer of 60 MB behind a chunked body."""
    return _pour(target, _trailer)


def extension(target: Target) -> str:
    """A chunk extension of 60 MB."""
    return _pour(target, _extension)


ATTACKS = (
    Attack("S2", "155 headers of 1 MB", many_large_headers),
    Attack("S2", "one header of 60 MB", one_header),
    Attack("S2", "300,000 small headers", small_headers),
    Attack("S2", "a target of 60 MB", long_target),
    Attack("S2", "a trailer of 60 MB", trailer),
    Attack("S2", "a chunk extension of 60 MB", extension),
)
