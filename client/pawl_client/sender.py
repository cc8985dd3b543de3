"""Posts JSON to a Pawl server in the background of an application that must not notice."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, RLock, Thread
from typing import Any
from weakref import WeakMethod

import httpx

from pawl_client.send_queue import SendQueue

_log = logging.getLogger(__name__)

_LATER = frozenset({429, 503})
"""The server says: come back later."""
_RETRIED = frozenset({408, 425, 500, 502, 504})
_ALONE = frozenset({400, 413, 422})
"""One row may spoil a request of several: each is then sent alone."""
_PAUSE_SECONDS_MAX = 5.0
_GROUP_ROWS = 50
_GROUP_BYTES = 200_000
_JSON = {"content-type": "application/json"}


class GivenUpError(Exception):
    """The server did not take it in all tries, or there is no time for more."""


@dataclass(frozen=True, slots=True)
class Post:
    """One row to post. `body` is made, and `then` called with the reply, in the background.

    `body` may give None: there is nothing to send after all. `size` is what it holds in memory, in
    bytes. `group` is the field under which several rows go to `path` in one request, answered by
    `{"results": […]}` in their order; None: each goes by itself.
    """

    path: str
    body: Callable[[], Mapping[str, Any] | None]
    then: Callable[[Mapping[str, Any]], None]
    size: int = 0
    group: str | None = None


class Sender:
    """One thread that posts in order over one connection; started with the first post.

    Rows that wait are bounded in number and in bytes: past it they are dropped and counted in
    `dropped`, as is what waits at `close`. What the server refuses, or does not take in `attempts`
    tries, is counted in `failed`. While it cannot be reached or says 429 or 503, rows wait.

    A forked child begins with an empty queue, and over a connection of its own (`connect`); what
    waited at the fork is the parent's.
    """

    def __init__(
        self,
        connect: Callable[[], httpx.Client],
        *,
        queue_max: int,
        bytes_max: int = 32_000_000,
        attempts: int = 5,
        first_pause_seconds: float = 0.2,
    ) -> None:
        self._connect = connect
        self._rows_max = queue_max
        self._bytes_max = bytes_max
        self._attempts = attempts
        self._first_pause = first_pause_seconds
        self.sent = 0
        self.failed = 0
        self.dropped = 0
        self._begin()
        if hasattr(os, "register_at_fork"):  # not so on Windows
            os.register_at_fork(after_in_child=_unless_gone(WeakMethod(self._begin)))

    def _begin(self) -> None:
        self._waiting: SendQueue[Post] = SendQueue(self._rows_max, self._bytes_max)
        self._closing = Event()
        self._lock = RLock()
        self._thread: Thread | None = None

    @property
    def waiting(self) -> int:
        """Rows that are neither sent nor given up."""
        return self._waiting.rows

    def post(self, post: Post) -> None:
        """Queue a row; neither waits nor raises."""
        if self._waiting.put(post, post.size):
            self._ensure_running()
        else:
            self.count(dropped=1)

    def count(self, *, sent: int = 0, failed: int = 0, dropped: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.sent += sent
            self.failed += failed
            self.dropped += dropped

    def flush(self, timeout: float) -> bool:
        """Wait, at most `timeout` seconds, until what waits now is sent or given up."""
        return self._waiting.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Flush and stop; what still waits is dropped. Whether everything was sent or given up."""
        flushed = self.flush(timeout)
        self._closing.set()
        self.count(dropped=self._waiting.close())
        if flushed and self._thread is not None:
            self._thread.join()
        return flushed

    def _ensure_running(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._thread = Thread(target=self._run, name="pawl-sender", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads, or Python is ending: the rows wait
                self._thread = None

    def _run(self) -> None:
        client: httpx.Client | None = None
        while posts := self._waiting.take(_joins):
            try:
                client = client or self._connect()
            except Exception as error:  # noqa: BLE001 - an address that is none
                self._give_up(len(posts), type(error).__name__)
            else:
                made = [(post, body) for post in posts if (body := self._made(post)) is not None]
                self._send(client, made)
            self._waiting.done()
        if client is not None:
            client.close()

    def _made(self, post: Post) -> bytes | None:
        """The row as JSON; None, and counted, where it cannot be made."""
        try:
            body = post.body()
            if body is not None:
                return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except Exception as error:  # noqa: BLE001 - the others of the group are sent all the same
            self._give_up(1, type(error).__name__)
        else:
            self.count(failed=1)
        return None

    def _send(self, client: httpx.Client, made: Sequence[tuple[Post, bytes]]) -> None:
        """Post rows of one group; each is counted once, whatever happens."""
        if not made:
            return
        post = made[0][0]
        try:
            content = _together(post.group, [body for _, body in made])
            response = self._patiently(client, post.path, content)
            if response.status_code in _ALONE and len(made) > 1:
                for one in made:
                    self._send(client, [one])
                return
            replies = _replies(post.group, response.raise_for_status(), len(made))
        except Exception as error:  # noqa: BLE001 - one row must not end the thread
            self._give_up(len(made), type(error).__name__)
            return
        for (sent, _), reply in zip(made, replies, strict=True):
            self._settle(sent, reply)

    def _settle(self, post: Post, reply: Any) -> None:
        try:
            post.then(reply)
        except Exception as error:  # noqa: BLE001 - a row that was refused, a reply that is none
            self._give_up(1, type(error).__name__)
        else:
            self.count(sent=1)

    def _patiently(self, client: httpx.Client, path: str, content: bytes) -> httpx.Response:
        """Post until there is a final answer; raises `GivenUpError`."""
        pause, tries = self._first_pause, 0
        while True:
            try:
                response = client.post(path, content=content, headers=_JSON)
                if response.status_code not in _LATER | _RETRIED:
                    return response
                tries += response.status_code not in _LATER
            except (httpx.ConnectError, httpx.ConnectTimeout):
                _log.debug("the server cannot be reached")
            except httpx.TransportError as error:
                tries += 1
                _log.debug("will retry after %s", type(error).__name__)
            if tries >= self._attempts or self._closing.wait(pause):
                raise GivenUpError
            pause = min(pause * 2, _PAUSE_SECONDS_MAX)

    def _give_up(self, rows: int, reason: str) -> None:
        self.count(failed=rows)
        _log.warning("%d posts were not sent: %s", rows, reason)


def _joins(posts: Sequence[Post], post: Post) -> bool:
    first = posts[0]
    return (
        first.group is not None
        and (post.path, post.group) == (first.path, first.group)
        and len(posts) < _GROUP_ROWS
        and sum(one.size for one in posts) + post.size <= _GROUP_BYTES
    )


def _together(group: str | None, bodies: Sequence[bytes]) -> bytes:
    """The content of one request."""
    if group is None:
        return bodies[0]
    return b'{"%s": [%s]}' % (group.encode(), b", ".join(bodies))


def _replies(group: str | None, response: httpx.Response, rows: int) -> list[Any]:
    """The reply to each row; raises ValueError for another number of them."""
    replies = [response.json()] if group is None else response.json()["results"]
    if len(replies) != rows:
        raise ValueError("the server answered another number of rows")
    return list(replies)


def _unless_gone(method: WeakMethod[Callable[[], None]]) -> Callable[[], None]:
    def call() -> None:
        if (alive := method()) is not None:
            alive()

    return call
