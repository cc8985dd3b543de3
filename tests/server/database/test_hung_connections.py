"""What is cut when the database says nothing."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, cast
from weakref import WeakSet

import pytest
from sqlalchemy import Engine, NullPool, make_url
from sqlalchemy.engine.default import DefaultDialect

from server.database.hung_connections import HungConnections

MOMENT = 0.2
"""Time enough for another thread to connect, where nothing holds it."""


class Unreachable:
    """A connection whose socket is gone."""

    def fileno(self) -> int:
        raise OSError("closed")


def test_connections_are_cut_while_another_thread_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Any = NullPool(cast(Any, Unreachable))
    made = [Unreachable() for _ in range(3)]
    meanwhile: list[Future[None]] = []

    class ConnectedToMeanwhile(WeakSet[Any]):
        def __iter__(self) -> Iterator[Any]:
            for connection in super().__iter__():
                if not meanwhile:
                    meanwhile.append(writer.submit(pool.dispatch.connect, made[2], None))
                    wait(meanwhile, timeout=MOMENT)
                yield connection

    monkeypatch.setattr("server.database.hung_connections.WeakSet", ConnectedToMeanwhile)
    silence = HungConnections({})
    silence.follow(Engine(pool, DefaultDialect(), make_url("none://")))
    with ThreadPoolExecutor(1) as writer:
        for connection in made[:2]:
            pool.dispatch.connect(connection, None)
        silence.cut()
        (connected,) = meanwhile
        connected.result(timeout=10)
