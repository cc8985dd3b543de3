"""Rollbacks under load: in time, and no request fails."""

from pathlib import Path

import pytest

from bench import rollbacks


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_rollbacks_under_load_fail_no_request(tmp_path: Path) -> None:
    outcome = rollbacks.run(tmp_path, rollbacks=5)
    assert len(outcome.effective) == 5
    assert (outcome.errors, outcome.mixed) == (0, 0)
    assert 0 < outcome.streamed < outcome.requests
    assert outcome.across > 0
