"""Adapters change under load and no answer mixes two, on the real engine."""

from pathlib import Path

import pytest

from bench import swap


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.xdist_group("engine")
@pytest.mark.timeout(300)
def test_thirty_swaps_under_load_fail_no_request_and_mix_no_answer(tmp_path: Path) -> None:
    outcome = swap.run(tmp_path, swaps=30, seed=0)
    assert len(outcome.swaps) == 30
    assert (outcome.errors, outcome.mismatches) == (0, 0)
    assert min(outcome.shares()) >= swap.LEAST_SHARE
    assert 0 < outcome.streamed < outcome.responses
    assert outcome.across > 0
