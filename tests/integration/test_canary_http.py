"""Canaries through the API come to the same end as the online gate alone."""

from pathlib import Path

import pytest

from bench.canary_http import drive
from bench.workloads.canaries import World


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_canaries_through_the_api_end_as_the_gate_says(tmp_path: Path) -> None:
    world = World(live=0.4, canary=0.85, users=240, days=14)
    outcome = await drive(tmp_path, world, canaries=2, seed=0)
    assert outcome.over_http == outcome.pure
    assert [end.outcome for end in outcome.over_http] == ["promoted", "promoted"]
