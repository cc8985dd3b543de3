"""Blind comparisons in the log: what decides them, what opens them."""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.models import Interaction
from feedback.reading.comparisons import (
    ComparisonOutcome,
    decided_comparisons,
    is_decided,
    outcome_of,
)
from feedback.visibility import visibility
from server.database.database import Database
from tests.retrain.log import CHANNEL, Log

BEGAN = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
LIVE, CANARY = "import-000001", "import-000002"

ids = st.sampled_from("abcd")


def winner(metric: str, value: Any) -> str | None:
    """The better of a (judged) and b; "" for a tie, None where they are not compared."""
    found = outcome_of(metric, value, "a", "b")
    return None if found is None else found.winner or ""


@given(other=ids)
def test_a_preference_decides_between_the_two_it_names(other: str) -> None:
    assert winner("preference", {"over": other, "choice": 0}) == ("a" if other == "b" else None)


@given(other=ids, outcome=st.sampled_from(["tie", "both_bad"]))
def test_a_tie_decides_between_the_two_it_names(other: str, outcome: str) -> None:
    found = outcome_of("preference", {outcome: other, "choice": 0}, "a", "b")
    tied = ComparisonOutcome(None, both_bad=outcome == "both_bad")
    assert found == (tied if other == "b" else None)


@given(order=st.permutations("abcd"), length=st.integers(2, 4))
def test_a_ranking_decides_where_both_are_in_it(order: list[str], length: int) -> None:
    ranked = order[:length]
    both = {"a", "b"} <= set(ranked)
    found = winner("ranking", [{"id": one, "choice": 0} for one in ranked])
    assert found == (min("ab", key=ranked.index) if both else None)


@given(order=st.permutations("abcd"), ends=st.sets(st.integers(1, 3)))
def test_a_group_of_a_ranking_is_a_tie(order: list[str], ends: set[int]) -> None:
    cuts = [0, *sorted(ends), 4]
    groups = [order[i:j] for i, j in itertools.pairwise(cuts)]
    value = [[{"id": one, "choice": 0} for one in group] for group in groups]
    best = next(set(group) & {"a", "b"} for group in groups if {"a", "b"} & set(group))
    assert winner("ranking", value) == ("" if len(best) == 2 else best.pop())


def test_of_several_choices_of_a_side_the_best_counts() -> None:
    value = [{"id": one, "choice": choice} for one, choice in (("b", 1), ("a", 0), ("b", 0))]
    assert winner("ranking", value) == "b"


@given(value=st.booleans() | st.integers(1, 5) | st.text())
def test_nothing_else_decides(value: Any) -> None:
    for metric in ("thumbs", "rating", "comment", "demonstration"):
        assert outcome_of(metric, value, "a", "b") is None


@pytest.fixture
def log() -> Log:
    return Log(now=BEGAN)


def compare(log: Log, name: str, user: str | None = "ann", **more: Any) -> tuple[str, str]:
    """A comparison of live with the canary; the ids in this order."""
    live, canary = (
        log.ask(
            f"question {name}",
            f"answer of {version}",
            user=user,
            role="comparison",
            version=version,
            comparison=name,
            **more,
        )
        for version in (LIVE, CANARY)
    )
    return live, canary


async def decided(
    log: Log, database: Database, since: datetime = BEGAN
) -> list[tuple[str, str | None]]:
    await log.write(database)
    found = await decided_comparisons(database, CHANNEL, (LIVE, CANARY), since)
    return [(one.user[1], one.version) for one in found]


@pytest.mark.anyio
async def test_the_winner_is_a_version(log: Log, database: Database) -> None:
    live, canary = compare(log, "one")
    log.prefer(canary, live)
    live, canary = compare(log, "two", user="bob")
    log.prefer(live, canary)
    assert await decided(log, database) == [("ann", CANARY), ("bob", LIVE)]


@pytest.mark.anyio
async def test_a_ranking_decides_too(log: Log, database: Database) -> None:
    live, canary = compare(log, "one")
    places = [{"id": canary, "choice": 0}, {"id": live, "choice": 0}]
    log.say("ranking", live, places)
    assert await decided(log, database) == [("ann", CANARY)]


@pytest.mark.anyio
async def test_a_tie_decides_and_neither_version_wins(log: Log, database: Database) -> None:
    live, canary = compare(log, "one")
    log.say("preference", canary, {"tie": live, "choice": 0})
    live, canary = compare(log, "two", user="bob")
    log.say("preference", live, {"both_bad": canary, "choice": 0})
    live, canary = compare(log, "three", user="cat")
    log.say("ranking", live, [[{"id": one, "choice": 0} for one in (live, canary)]])
    await log.write(database)
    found = await decided_comparisons(database, CHANNEL, (LIVE, CANARY), BEGAN)
    said = [(one.user[1], one.version, one.both_bad) for one in found]
    assert said == [("ann", None, False), ("bob", None, True), ("cat", None, False)]


@pytest.mark.anyio
async def test_a_word_after_a_tie_is_not_blind(log: Log, database: Database) -> None:
    live, canary = compare(log, "one")
    log.say("preference", canary, {"tie": live, "choice": 0})
    log.prefer(canary, live)
    assert await decided(log, database) == [("ann", None)]


@pytest.mark.anyio
async def test_only_the_first_word_is_blind(log: Log, database: Database) -> None:
    live, canary = compare(log, "one")
    log.prefer(live, canary)
    log.prefer(canary, live)
    assert await decided(log, database) == [("ann", LIVE)]


@pytest.mark.anyio
@pytest.mark.parametrize("first", [{"rater": "an expert"}, {"source": "LLM_JUDGE"}])
async def test_what_others_said_first_decides_nothing(
    log: Log, database: Database, first: dict[str, str]
) -> None:
    live, canary = compare(log, "one")
    log.prefer(live, canary, **first)
    log.prefer(canary, live)
    assert await decided(log, database) == []


@pytest.mark.anyio
async def test_thumbs_and_two_choices_of_one_side_decide_nothing(
    log: Log, database: Database
) -> None:
    live, canary = compare(log, "one")
    log.say("thumbs", live, value=True)
    log.say("thumbs", canary, value=False)
    log.prefer(live, live)
    assert await decided(log, database) == []


@pytest.mark.anyio
async def test_two_samples_of_live_and_what_was_asked_before_stay_out(
    log: Log, database: Database
) -> None:
    live, canary = compare(log, "early")
    since = log.now
    log.prefer(canary, live)
    one, other = (log.ask("q", "t", version=LIVE, comparison="samples") for _ in range(2))
    log.prefer(one, other)
    assert await decided(log, database, since) == []


@pytest.mark.anyio
async def test_a_side_is_blind_until_the_pair_is_decided(log: Log, database: Database) -> None:
    voted = compare(log, "voted")
    log.prefer(*voted)
    tied = compare(log, "tied")
    log.say("preference", tied[0], {"tie": tied[1], "choice": 0})
    bad = compare(log, "both bad")
    log.say("preference", bad[1], {"both_bad": bad[0], "choice": 0})
    rated = compare(log, "rated")
    log.say("thumbs", rated[0], value=True)
    plain = log.ask("alone", "answer")
    await log.write(database)
    blind = {}
    async with database.read() as session:
        connection = await session.connection()
        for identifier in (*voted, *tied, *bad, *rated, plain):
            row = await session.get(Interaction, identifier)
            assert row is not None
            decided = await is_decided(connection, row)
            blind[identifier] = visibility(row.comparison, decided=decided).blind
    hidden = {identifier for identifier, hides in blind.items() if hides}
    assert hidden == set(rated)
