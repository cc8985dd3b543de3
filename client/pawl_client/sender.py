"""Posts JSON to a Pawl server in a background thread, without ever raising into the application."""

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

_BUSY = frozenset({429, 503})
"""Statuses of a busy server. They are retried without counting an attempt."""
_RETRIED = frozenset({408, 425, 500, 502, 504})
"""Statuses that are retried and count as an attempt."""
_SPLIT_GROUP = frozenset({400, 413, 422})
"""Statuses of a group that one bad row may cause: each row is then sent by itself."""
_PAUSE_SECONDS_MAX = 5.0
_GROUP_ROWS = 50
_GROUP_BYTES = 200_000
_JSON = {"content-type": "application/json"}


class GivenUpError(Exception):
    """The server did not accept the request in any attempt, or the sender is being closed."""


@dataclass(frozen=True, slots=True)
class Post:
    """One row to post.

    `body` is called in the background; if it returns None, nothing is sent. `then` is called with
    the reply, also in the background. `size` is the memory that the row holds, in bytes. `group` is
    the field that carries several rows in one request to `path`, answered by `{"results": […]}` in
    the same order; with None each row is sent by itself.
    """

    path: str
    body: Callable[[], Mapping[str, Any] | None]
    then: Callable[[Mapping[str, Any]], None]
    size: int = 0
    group: str | None = None


class Sender:
    """One thread, started by the first post, that posts rows in order over one connection.

    The queue is bounded in rows and in bytes. Rows that do not fit, or still wait at `close`, are
    dropped and counted in `dropped`. Rows that the server refuses, or does not accept in `attempts`
    attempts, are counted in `failed`. While the server cannot be reached or replies 429 or 503,
    rows wait.

    A forked child starts with an empty queue and opens a connection of its own with `connect`; the
    rows queued at the fork stay with the parent.
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
        self._reset()
        if hasattr(os, "register_at_fork"):  # missing on Windows
            os.register_at_fork(after_in_child=_call_if_alive(WeakMethod(self._reset)))

    def _reset(self) -> None:
        self._waiting: SendQueue[Post] = SendQueue(self._rows_max, self._bytes_max)
        self._closing = Event()
        self._lock = RLock()
        self._thread: Thread | None = None

    @property
    def waiting(self) -> int:
        """Return the number of rows that are neither sent nor given up."""
        return self._waiting.rows

    def post(self, post: Post) -> None:
        """Queue a row; neither blocks nor raises."""
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
        """Wait until all rows queued now are sent or given up; return False after `timeout` s."""
        return self._waiting.flush(timeout)

    def close(self, timeout: float) -> bool:
        """Flush, drop what still waits and stop; return whether `flush` succeeded."""
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
            except RuntimeError:  # thread limit reached, or Python is shutting down: the rows wait
                self._thread = None

    def _run(self) -> None:
        client: httpx.Client | None = None
        while posts := self._waiting.take(_joins):
            try:
                client = client or self._connect()
            except Exception as error:  # noqa: BLE001 - such as an invalid URL
                self._give_up(len(posts), type(error).__name__)
            else:
                made = [(post, body) for post in posts if (body := self._made(post)) is not None]
                self._send(client, made)
            self._waiting.done()
        if client is not None:
            client.close()

    def _made(self, post: Post) -> bytes | None:
        """Return the row as JSON; count it as failed and return None if that is not possible."""
        try:
            body = post.body()
            if body is not None:
                return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except Exception as error:  # noqa: BLE001 - the rest of the group is still sent
            self._give_up(1, type(error).__name__)
        else:
            self.count(failed=1)
        return None

    def _send(self, client: httpx.Client, made: Sequence[tuple[Post, bytes]]) -> None:
        """Post the rows of one group and count each exactly once."""
        if not made:
            return
        post = made[0][0]
        try:
            content = _together(post.group, [body for _, body in made])
            response = self._post_with_retries(client, post.path, content)
            if response.status_code in _SPLIT_GROUP and len(made) > 1:
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
        except Exception as error:  # noqa: BLE001 - a refused row or a malformed reply
            self._give_up(1, type(error).__name__)
        else:
            self.count(sent=1)

    def _post_with_retries(self, client: httpx.Client, path: str, content: bytes) -> httpx.Response:
        """Post until the reply is final and return it. Raises `GivenUpError`."""
        pause, tries = self._first_pause, 0
        while True:
            try:
                response = client.post(path, content=content, headers=_JSON)
                if response.status_code not in _BUSY | _RETRIED:
                    return response
                tries += response.status_code not in _BUSY
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
    """Return the content of the request that carries `bodies`."""
    if group is None:
        return bodies[0]
    return b'{"%s": [%s]}' % (group.encode(), b", ".join(bodies))


def _replies(group: str | None, response: httpx.Response, rows: int) -> list[Any]:
    """Return the reply to each row; raise ValueError if their number is not `rows`."""
    replies = [response.json()] if group is None else response.json()["results"]
    if len(replies) != rows:
        raise ValueError("the server replied with a different number of rows")
    return list(replies)


def _call_if_alive(method: WeakMethod[Callable[[], None]]) -> Callable[[], None]:
    def call() -> None:
        if (alive := method()) is not None:
            alive()

    return call
