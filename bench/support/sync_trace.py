"""Checks in a trace of system calls that rows were synced to disk before they were acknowledged.

A kill does not show what survives a power failure: data that was written but not synced survives
only the kill. So this module checks the order: the frames of the row's transaction are written to
SQLite's write-ahead log, the log is synced, and only then the response's first byte is sent.

The trace is that of strace, which runs the server's command.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CALLS = "pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync"
WAL = "-wal"
GOOD_ANSWER = b"HTTP/1.1 200"
_FRAME_HEADER_BYTES = 24
_SYNCS = frozenset({"fsync", "fdatasync"})
_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_START = re.compile(r"(?P<name>\w+)\(\d+<(?P<target>.*?)>(?:[, )]|$)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>")
_RESULT = re.compile(r"= (?P<result>-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class NotSyncedError(AssertionError):
    """A row was acknowledged before it was on disk, or one of the two was not in the trace."""


def strace(output: Path) -> list[str]:
    """Return strace's command: all threads, complete buffers in hex, both ends of sockets."""
    return [
        *("strace", "--follow-forks", "--seccomp-bpf", "--quiet=all", "-yy", "-xx"),
        *("--string-limit=70000", f"--trace={_CALLS}", f"--output={output}"),
    ]


@dataclass(slots=True)
class Call:
    """A system call on a file or a socket; `began` and `ended` are lines of the trace."""

    name: str
    target: str
    data: bytes
    began: int
    ended: int | None = None
    result: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """The lines of the trace at which a row was written, synced and acknowledged."""

    committed: int
    synced: int
    acknowledged: int


def read_calls(lines: Iterable[str]) -> list[Call]:
    """Return all calls of a trace in the order of their start."""
    return list(_calls(lines))


def _calls(lines: Iterable[str]) -> Iterator[Call]:
    unfinished: dict[tuple[str, str], Call] = {}
    for number, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None:
            continue
        pid, rest = found["pid"], found["rest"]
        resumed = _RESUMED.match(rest)
        if resumed is not None:
            call = unfinished.pop((pid, resumed["name"]), None)
        else:
            call = _begun(rest, number)
            if call is not None:
                yield call
        if call is None:
            continue
        if rest.endswith("<unfinished ...>"):
            unfinished[pid, call.name] = call
        else:
            call.ended, call.result = number, _result(rest)


def _begun(rest: str, number: int) -> Call | None:
    found = _START.match(rest)
    if found is None:
        return None
    strings = _STRING.findall(rest, found.end())
    data = bytes.fromhex("".join(strings).replace("\\x", ""))
    target = found["target"]
    if target.startswith("\\x"):
        target = bytes.fromhex(target.replace("\\x", "")).decode(errors="replace")
    return Call(found["name"], target, data, number)


def _result(rest: str) -> int | None:
    results = _RESULT.findall(rest.rpartition(")")[2])
    return int(results[-1]) if results else None


def order_of(calls: Sequence[Call], marker: bytes) -> Order:
    """Return when the row that contains `marker` was written, synced and acknowledged.

    `marker` must occur only in the row and in the body of the response. Raises `NotSyncedError`
    unless they happened in this order, each finished before the next began.
    """
    committed = _committed(calls, marker)
    sync = next((call for call in calls if _is_sync(call) and call.began > committed), None)
    if sync is None or sync.ended is None:
        raise NotSyncedError("the log was never synced after the row was written")
    answer = _first_byte(calls, marker)
    if answer.began <= sync.ended:
        raise NotSyncedError(
            f"the answer left at line {answer.began}, the sync ended at line {sync.ended}"
        )
    return Order(committed, sync.ended, answer.began)


def _committed(calls: Sequence[Call], marker: bytes) -> int:
    """Return the line at which the last page of the row's transaction was written.

    The frames of a transaction are consecutive. The header of the last one has the size of the
    database in its second word, which is 0 in the others (SQLite's file format, section 4.1).
    """
    writes = [call for call in calls if call.name == "pwrite64" and call.target.endswith(WAL)]
    pages = [index for index, call in enumerate(writes) if marker in call.data]
    if not pages:
        raise NotSyncedError("the row was never written to the log")
    for index in range(pages[0] - 1, len(writes) - 1):
        header, page = writes[index], writes[index + 1]
        is_header = len(header.data) == _FRAME_HEADER_BYTES
        if is_header and any(header.data[4:8]) and page.ended is not None:
            return page.ended
    raise NotSyncedError("the row's transaction was never committed")


def _is_sync(call: Call) -> bool:
    return call.name in _SYNCS and call.target.endswith(WAL) and call.result == 0


def _first_byte(calls: Sequence[Call], marker: bytes) -> Call:
    """Return the call that sent the start of the response on the connection with `marker`."""
    sends = [call for call in calls if call.target.startswith("TCP")]
    sockets = {call.target for call in sends if marker in call.data}
    if len(sockets) != 1:
        raise NotSyncedError(f"the answer was seen on {len(sockets)} connections instead of one")
    on_socket = [call for call in sends if call.target in sockets]
    for call in on_socket:
        if call.data.startswith(GOOD_ANSWER):
            return call
    raise NotSyncedError("the feedback was not acknowledged with a 200")
