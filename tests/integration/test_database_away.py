"""The benchmarks of databases that go away and of full disks, in small."""

from pathlib import Path

import pytest

from bench import fault_database_away, fault_disk_full

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.anyio]

DATABASES = ["sqlite", "postgresql"]


@pytest.mark.parametrize("name", DATABASES)
async def test_chat_goes_on_and_nothing_acknowledged_is_lost(name: str, tmp_path: Path) -> None:
    faults = 2 if name == "postgresql" else 1  # stopped, then paused
    (outcome,) = await fault_database_away.measure(
        tmp_path, databases=[name], outages=faults, seconds=2
    )
    assert outcome.failed_chats == 0
    assert (outcome.lost, outcome.doubled, outcome.left_in_spool) == (0, 0, 0)
    assert (outcome.wrong_last_words, outcome.out_of_order) == (0, 0)
    assert all(outage.spooled > 0 for outage in outcome.outages)


@pytest.mark.parametrize("name", DATABASES)
async def test_a_full_disk_refuses_feedback_and_damages_nothing(name: str, tmp_path: Path) -> None:
    (outcome,) = await fault_disk_full.measure(tmp_path, databases=[name], rounds=1, seconds=1)
    assert outcome.rounds[0].refused > 0
    assert (outcome.rounds[0].failed_chats, outcome.rounds[0].wrong_refusals) == (0, 0)
    assert (outcome.missing, outcome.doubled, outcome.damaged) == (0, 0, 0)
