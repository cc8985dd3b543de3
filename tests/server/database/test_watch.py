"""When a database counts as away."""

import asyncio
import time
from pathlib import Path

import pytest

from server.database.database import Database, sqlite_url
from server.database.watch import DatabaseWatch
from tests.waiting import until

pytestmark = pytest.mark.anyio
PATIENCE = 0.4


class Heard:
    """Remembers what came of each question."""

    def __init__(self) -> None:
        self.answers: list[bool] = []

    def probed(self, *, answers: bool) -> None:
        self.answers.append(answers)


class BreakingDatabase(Database):
    """Does not answer the first question, and fails to leave."""

    asked = 0

    async def ping(self) -> None:
        self.asked += 1
        if self.asked == 1:
            raise OSError("no route to host")

    def disconnect(self) -> None:
        super().disconnect()
        raise RuntimeError("Set changed size during iteration")


class SlowDatabase(Database):
    """Answers in several steps, or never."""

    def __init__(self, url: str, *, silent: bool) -> None:
        super().__init__(url)
        self.asked = asyncio.Event()
        self._silent = silent

    async def ping(self) -> None:
        self.asked.set()
        for _ in range(4):
            await asyncio.to_thread(time.sleep, 0)
        if self._silent:
            await asyncio.Event().wait()


async def looked(tmp_path: Path, *, silent: bool, held_up: float) -> tuple[list[bool], bool]:
    """What one look finds while the event loop is held up for so long."""
    database, heard = SlowDatabase(sqlite_url(tmp_path / "pawl.db"), silent=silent), Heard()
    looking = asyncio.create_task(DatabaseWatch(database, heard, patience_seconds=PATIENCE).look())
    await database.asked.wait()
    time.sleep(held_up)  # noqa: ASYNC251 - the fault itself
    await looking
    away = database.away
    await database.close()
    return heard.answers, away


async def test_a_database_is_not_away_because_the_event_loop_was(tmp_path: Path) -> None:
    assert await looked(tmp_path, silent=False, held_up=3 * PATIENCE) == ([True], False)


async def test_a_database_that_says_nothing_is_away(tmp_path: Path) -> None:
    assert await looked(tmp_path, silent=True, held_up=0) == ([False], True)


async def test_a_look_that_fails_does_not_end_the_watch(tmp_path: Path) -> None:
    database = BreakingDatabase(sqlite_url(tmp_path / "pawl.db"))
    watch = DatabaseWatch(database, Heard(), every_seconds=0)
    watch.start()
    await until(lambda: database.asked >= 3)
    assert not database.away
    await watch.close()
    await database.close()
