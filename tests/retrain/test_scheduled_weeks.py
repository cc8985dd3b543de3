"""Three schedulers live through weeks in which clocks are set and owners die: one run a slot."""

import asyncio
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.faults.scheduled_weeks import (
    ALSO_ON_VOTES,
    BEGIN,
    DUE_HOUR,
    HOUR,
    WEEK,
    WEEKLY,
    Moment,
    Outcome,
    live_through,
    weeks,
)
from retrain.config import RetrainConfig
from server.database.database import Database, sqlite_url
from server.database.migrate import upgrade
from tests.postgres_fixture import TestDatabases

SCHEDULERS = 3
EVERY = frozenset(range(SCHEDULERS))
RIGHT = (timedelta(),) * SCHEDULERS
DUE = BEGIN + DUE_HOUR * HOUR


def lived(url: str, moments: Sequence[Moment], config: RetrainConfig = WEEKLY) -> Outcome:
    """A new process for each scheduler, as it were, on an address of theirs."""

    async def live() -> Outcome:
        await upgrade(url)
        databases = [Database(url) for _ in range(SCHEDULERS)]
        try:
            with tempfile.TemporaryDirectory() as folder:
                return await live_through(databases, Path(folder), moments, config)
        finally:
            for database in databases:
                await database.close()

    return asyncio.run(live())


@contextmanager
def address(backend: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new database: several may be needed in one test."""
    with ExitStack() as stack:
        if backend == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            yield sqlite_url(Path(folder) / "pawl.db")
        else:
            databases: TestDatabases = request.getfixturevalue("postgres")
            yield stack.enter_context(databases.database())


def at(*hours: float, wrong: tuple[timedelta, ...] = RIGHT) -> list[Moment]:
    return [Moment(DUE + hour * HOUR, EVERY, wrong) for hour in hours]


ALL_BACK, ALL_FORWARD = (-HOUR,) * SCHEDULERS, (HOUR,) * SCHEDULERS
Night = list[tuple[int, set[int], tuple[timedelta, ...], bool]]
NIGHT = st.lists(
    st.tuples(
        st.integers(-7200, 7200),
        st.sets(st.integers(0, SCHEDULERS - 1), min_size=1),
        st.tuples(*(st.sampled_from([-HOUR, timedelta(), HOUR]),) * SCHEDULERS),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def _nights(nights: list[Night]) -> list[Moment]:
    """Each night as drawn, and quiet minutes after it in which what was left is taken up."""
    moments = at(-72)
    for week, night in enumerate(nights):
        moments += [
            Moment(DUE + week * WEEK + timedelta(seconds=seconds), frozenset(up), wrong, dies)
            for seconds, up, wrong, dies in sorted(night, key=lambda one: one[0])
        ]
        hours = 7 * 24 * week + 4
        moments += at(hours, hours + 0.1, hours + 0.2, hours + 0.3)
    return moments


@pytest.mark.timeout(180)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nights=st.lists(NIGHT, min_size=1, max_size=2))
def test_however_clocks_jump_about_the_due_instant_each_slot_has_one_run(
    backend: str, request: pytest.FixtureRequest, nights: list[Night]
) -> None:
    with address(backend, request) as url:
        outcome = lived(url, _nights(nights))
    assert outcome.good, outcome


@pytest.mark.parametrize("jump", [ALL_BACK, ALL_FORWARD])
def test_a_clock_that_jumps_at_the_due_instant_makes_one_run(
    backend: str, request: pytest.FixtureRequest, jump: tuple[timedelta, ...]
) -> None:
    moments = [*at(-0.01), *at(0, 0.01, 0.5, wrong=jump), *at(0.9, 1, 1.1, 2)]
    with address(backend, request) as url:
        outcome = lived(url, moments)
    assert outcome.good
    assert outcome.ended == {"2023-w52": 1, "2024-w01": 1}


def test_missed_weeks_are_caught_up_once(backend: str, request: pytest.FixtureRequest) -> None:
    with address(backend, request) as url:
        outcome = lived(url, [*at(0), *at(5 * 7 * 24 + 30, 5 * 7 * 24 + 31)])
    assert outcome.good
    assert outcome.ended == {"2024-w01": 1, "2024-w06": 1}


@pytest.mark.timeout(180)
def test_two_months_go_well(backend: str, request: pytest.FixtureRequest) -> None:
    with address(backend, request) as url:
        outcome = lived(url, list(weeks(8, SCHEDULERS, random.Random(1))))
    assert outcome.good
    assert outcome.jumps > 0


@pytest.mark.timeout(180)
def test_a_month_goes_well_where_votes_start_runs_as_well(
    backend: str, request: pytest.FixtureRequest
) -> None:
    with address(backend, request) as url:
        outcome = lived(url, list(weeks(4, SCHEDULERS, random.Random(2))), ALSO_ON_VOTES)
    assert outcome.good
    assert outcome.jumps > 0
