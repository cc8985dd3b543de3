"""The benchmarks of databases that go away and of full disks, in small."""

from pathlib import Path

import pytest

from bench.faults import database_away, disk_full
from bench.faults.outages import breakable_sqlite
from bench.support.chat import ask, session_of
from bench.support.servers import start_pawl, stopping

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.anyio]

MESSAGES = [{"role": "user", "content": "When do the tomatoes ripen?"}]
DATABASES = ["sqlite", "postgresql"]


@pytest.mark.parametrize("name", DATABASES)
async def test_chat_goes_on_and_nothing_acknowledged_is_lost(name: str, tmp_path: Path) -> None:
    faults = 2 if name == "postgresql" else 1  # stopped, then paused
    (outcome,) = await database_away.measure(tmp_path, databases=[name], outages=faults, seconds=2)
    assert outcome.failed_chats == 0
    assert (outcome.lost, outcome.doubled, outcome.left_in_spool) == (0, 0, 0)
    assert (outcome.wrong_last_words, outcome.out_of_order) == (0, 0)
    assert all(outage.spooled > 0 for outage in outcome.outages)


@pytest.mark.parametrize("name", DATABASES)
async def test_a_full_disk_refuses_feedback_and_damages_nothing(name: str, tmp_path: Path) -> None:
    (outcome,) = await disk_full.measure(tmp_path, databases=[name], rounds=1, seconds=1)
    assert outcome.rounds[0].refused > 0
    assert (outcome.rounds[0].failed_chats, outcome.rounds[0].wrong_refusals) == (0, 0)
    assert (outcome.missing, outcome.doubled, outcome.damaged) == (0, 0, 0)


async def test_what_a_killed_server_had_spooled_the_next_one_drains(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    with breakable_sqlite(data_dir) as database:
        server = start_pawl(data_dir)
        (fault,) = database.faults
        fault.begin()
        async with session_of(server) as session:
            reply = await ask(session, {"model": "pawl", "messages": MESSAGES})
            rating = {"inference_id": reply.id, "metric_name": "thumbs", "value": True, "id": "f"}
            async with session.post("/v1/feedback", json=rating) as response:
                assert response.status == 200
        server.kill()
        fault.end()
        assert database.count("feedback").total() == 0
        with stopping(start_pawl(data_dir)):  # ready, and caught up
            assert database.count("interaction") == {reply.id: 1}
            assert database.count("feedback") == {"f": 1}
