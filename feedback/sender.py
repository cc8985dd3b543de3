"""Posts JSON to a Pawl server in the background of an application that must not notice."""

import logging
import os
import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any
from weakref import WeakMethod

import httpx

_log = logging.getLogger(__name__)
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Post:
    """One request. `body` is made, and `then` called with the reply, in the background.

    `body` may give None: there is nothing to send after all.
    """

    path: str
    body: Callable[[], Mapping[str, Any] | None]
    then: Callable[[Mapping[str, Any]], None]


class Sender:
    """One thread that posts in order over one connection; started with the first post.

    A forked child begins with an empty queue, and over a connection of its own (`connect`); what
    waited at the fork is the parent's.

    The queue is bounded: past it posts are dropped and counted in `dropped`. What the server
    refuses, or does not take in `attempts` tries, is counted in `failed`.
    """

    def __init__(
        self,
        connect: Callable[[], httpx.Client],
        *,
        queue_max: int,
        attempts: int = 5,
        first_pause_seconds: float = 0.2,
    ) -> None:
        self._connect = connect
        self._queue_max = queue_max
        self._attempts = attempts
        self._first_pause = first_pause_seconds
        self.sent = 0
        self.failed = 0
        self.dropped = 0
        self._begin()
        if hasattr(os, "register_at_fork"):  # not so on Windows
            os.register_at_fork(after_in_child=_unless_gone(WeakMethod(self._begin)))

    def _begin(self) -> None:
        self._queue: queue.Queue[Post] = queue.Queue(self._queue_max)
        self._closing = Event()
        self._starting = Lock()
        self._thread: Thread | None = None
        self._client: httpx.Client | None = None

    def post(self, post: Post) -> None:
        """Queue a post; never waits."""
        if self._closing.is_set():
            self.dropped += 1
            return
        try:
            self._queue.put_nowait(post)
        except queue.Full:
            self.dropped += 1
            return
        self._ensure_running()

    def flush(self, timeout: float) -> bool:
        """Wait, at most `timeout` seconds, until all is sent or given up; whether it is."""
        with self._queue.all_tasks_done:
            return self._queue.all_tasks_done.wait_for(
                lambda: not self._queue.unfinished_tasks, timeout
            )

    def close(self, timeout: float) -> bool:
        """Flush, stop and close the client. Whether everything was sent or given up."""
        flushed = self.flush(timeout)
        self._closing.set()
        if self._client is not None:
            self._client.close()
        return flushed

    def _ensure_running(self) -> None:
        with self._starting:
            if self._thread is None:
                self._client = client = self._connect()
                thread = Thread(target=self._run, args=[client], name="pawl-sender", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self, client: httpx.Client) -> None:
        while not self._closing.is_set():
            try:
                post = self._queue.get(timeout=1)
            except queue.Empty:
                continue
            try:
                self._handle(client, post)
            except Exception as error:  # noqa: BLE001 - one post must not end the thread
                self.failed += 1
                _log.warning("a post was not sent: %s", type(error).__name__)
            finally:
                self._queue.task_done()

    def _handle(self, client: httpx.Client, post: Post) -> None:
        body = post.body()
        if body is None:
            self.failed += 1
            return
        response = self._patiently(client, post.path, body)
        response.raise_for_status()
        self.sent += 1
        post.then(response.json())

    def _patiently(
        self, client: httpx.Client, path: str, body: Mapping[str, Any]
    ) -> httpx.Response:
        pause = self._first_pause
        for _ in range(self._attempts - 1):
            try:
                response = client.post(path, json=body)
                if response.status_code not in _RETRIED:
                    return response
            except httpx.TransportError as error:
                _log.debug("will retry after %s", type(error).__name__)
            if self._closing.wait(pause):
                break
            pause *= 2
        return client.post(path, json=body)


def _unless_gone(method: WeakMethod[Callable[[], None]]) -> Callable[[], None]:
    def call() -> None:
        if (alive := method()) is not None:
            alive()

    return call
