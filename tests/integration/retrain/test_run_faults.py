"""Servers, trainers and publishers struck for real; `bench.faults.runs` strikes everywhere."""

import random
from pathlib import Path

import pytest

from bench.faults.killed_publish import strike
from bench.faults.killed_runs import Runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_server_killed_at_a_commit_and_a_trainer_leave_a_run_that_ends(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    try:
        commit, trainer = runs.commit(9), runs.trainer(random.Random(0))
    finally:
        runs.close()
    for killed in (commit, trainer):
        assert (killed.died, killed.half, killed.ended, killed.orphans) == (True, False, True, 0)


def test_a_publish_struck_at_a_system_call_leaves_the_old_version_or_the_new_one(
    tmp_path: Path,
) -> None:
    struck = list(strike(tmp_path, stride=61))
    assert {one.fault.how for one in struck} == {"signal=KILL", "error=ENOSPC", "error=EIO"}
    assert [one for one in struck if one.half or not one.ended] == []
