"""Blind comparisons as the online gate's evidence, and as training pairs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.reading.comparisons import DecidedComparison
from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import judged_conversations
from retrain.config import PairsConfig, RetrainConfig
from retrain.dataset.filters import RaterRules
from retrain.dataset.pairs import pairs_of
from retrain.gates.evidence import Compared, stream_curves
from retrain.models import Rollout
from retrain.rollout.trial_evidence import Stage, TrialLog, trial_evidence
from retrain.rollout.trial_reader import TrialReader
from retrain.rollout.trial_settings import TrialSettings
from server.database.database import Database
from tests.retrain.log import CHANNEL, TENANT, Log

BEGAN = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
LIVE, CANARY = "import-000001", "import-000002"

Won = bool | None

decisions = st.tuples(st.integers(-5, 50), st.sampled_from("abc"), st.none() | st.booleans())


def evidence(decided: Sequence[tuple[int, str, Won]]) -> Sequence[Compared]:
    """From (second, user, whether the canary won) to what the gate gets."""
    versions: dict[Won, str | None] = {True: CANARY, False: LIVE, None: None}
    comparisons = [
        DecidedComparison((TENANT, user), BEGAN + timedelta(seconds=second), versions[won])
        for second, user, won in sorted(decided, key=lambda one: one[0])
    ]
    log = TrialLog(exposures=(), votes=(), comparisons=comparisons, newer=CANARY)
    stages = [Stage(BEGAN, 0.05), Stage(BEGAN + timedelta(seconds=10), 0.5)]
    return trial_evidence(log, stages, BEGAN + timedelta(days=1), watch=False).compared


@given(decided=st.lists(decisions))
def test_each_user_is_one_unit_and_units_are_in_order(
    decided: list[tuple[int, str, Won]],
) -> None:
    found = evidence(decided)
    assert len(found) == len({user for second, user, _ in decided if second >= 0})
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert all(one.at >= 0 for one in found)


def test_a_users_first_decision_counts() -> None:
    decided: list[tuple[int, str, Won]] = [
        (-1, "a", False),
        (1, "a", True),
        (2, "a", False),
        (3, "b", False),
    ]
    assert evidence(decided) == [Compared(1, True), Compared(3, False)]


def test_a_users_tie_counts_as_the_first_decision_too() -> None:
    decided: list[tuple[int, str, Won]] = [(1, "a", None), (2, "a", True), (3, "b", False)]
    assert evidence(decided) == [Compared(1, None), Compared(3, False)]


def rollout() -> Rollout:
    return Rollout(
        version=CANARY,
        channel=CHANNEL,
        previous=LIVE,
        phase="canary",
        trial="salt",
        began_at=BEGAN,
        stages=[],
        settings={},
        reason="a test",
    )


def compare(log: Log, user: str, question: str, *texts: str) -> list[str]:
    """One comparison: the ids of live's side and the canary's."""
    return [
        log.ask(
            question,
            text,
            user=user,
            role="comparison",
            version=version,
            comparison=f"comparison-{user}",
        )
        for version, text in zip((LIVE, CANARY), texts, strict=True)
    ]


@pytest.mark.anyio
async def test_comparisons_of_the_log_speak_for_the_canary(database: Database) -> None:
    log = Log(now=BEGAN)
    for number in range(40):
        live, canary = compare(log, f"user {number}", f"question {number}", "one", "two")
        log.prefer(canary, live)
    await log.write(database)
    reader = TrialReader(database, RetrainConfig())
    read = await reader.read(rollout(), "salt", TrialSettings())
    stages, now = [Stage(BEGAN, 0.5)], log.now
    found = trial_evidence(read, stages, now, watch=False)
    assert [one.canary_won for one in found.compared] == [True] * 40
    assert stream_curves(found, "first").better.last > 100


@pytest.mark.anyio
async def test_thumbs_on_comparisons_are_no_votes_on_live(database: Database) -> None:
    log = Log(now=BEGAN - timedelta(days=1))
    live, _ = compare(log, "ann", "question", "one", "two")
    log.say("thumbs", live, value=True)
    await log.write(database)
    reader = TrialReader(database, RetrainConfig())
    read = await reader.read(rollout(), "salt", TrialSettings())
    assert (list(read.votes), list(read.votes_before), list(read.paces_before)) == ([], [], [])


@pytest.mark.anyio
async def test_a_blind_preference_is_a_training_pair(database: Database) -> None:
    log = Log(now=BEGAN)
    live, canary = compare(log, "ann", "question", "live says", "canary says")
    log.prefer(canary, live)
    await log.write(database)
    window = LogWindow(CHANNEL, frozenset({TENANT}), None, log.now)
    config = PairsConfig(held_out_share=0)
    pairs = [
        pair
        async for conversation in judged_conversations(database, window, RaterRules(100).excluded)
        for pair in pairs_of(conversation, config, "f" * 64).pairs
    ]
    assert [(one.chosen.text, one.rejected.text, one.signal) for one in pairs] == [
        ("canary says", "live says", "preference")
    ]
