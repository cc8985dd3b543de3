"""Tells from a trace of a server's system calls whether rows were synced before acknowledged.

A kill proves nothing about a power cut: what was written but not synced survives the one and not
the other. So the order is looked at: the frames of the row's transaction are written to SQLite's
write-ahead log, the log is synced, and only then does the answer's first byte go to the client.

The trace is strace's, with `strace` before the server's command.
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
    """An acknowledgement left before its row was on the disk, or one of the two was not seen."""


def strace(output: Path) -> list[str]:
    """What to start a server under: all threads, whole buffers in hex, sockets with both ends."""
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
    """The lines at which a row was written whole, was synced, and was acknowledged."""

    committed: int
    synced: int
    acknowledged: int


def read_calls(lines: Iterable[str]) -> list[Call]:
    """All calls of a trace in the order in which they began."""
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
    """When the row that holds `marker` was written, synced, and acknowledged.

    `marker` stands in the row and in the body of the answer, and nowhere else. Raises
    `NotSyncedError` unless they happened in this order, each finished before the next began.
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
    """The line at which the last page of the row's transaction was written.

    A transaction's frames follow one another; the header of the last one names the size of the
    database in its second word, which is 0 in the others (SQLite's file format, 4.1).
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
    """The call that sent the beginning of the answer, on the connection that carries `marker`."""
    sends = [call for call in calls if call.target.startswith("TCP")]
    sockets = {call.target for call in sends if marker in call.data}
    if len(sockets) != 1:
        raise NotSyncedError(f"the answer was seen on {len(sockets)} connections instead of one")
    on_socket = [call for call in sends if call.target in sockets]
    for call in on_socket:
        if call.data.startswith(GOOD_ANSWER):
            return call
    raise NotSyncedError("the feedback was not acknowledged with a 200")
