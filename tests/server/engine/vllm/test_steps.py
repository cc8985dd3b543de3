"""What counts as a step: whatever was computed, and nothing else."""

from dataclasses import dataclass

import pytest

from server.engine.vllm.steps import StepCounter

pytestmark = pytest.mark.pure


@dataclass
class Stats:
    num_running_reqs: int


@pytest.mark.parametrize(
    ("running", "tokens", "counted"),
    [
        pytest.param(Stats(1), None, 1, id="a part of a prefill"),
        pytest.param(Stats(2), object(), 1, id="tokens"),
        pytest.param(Stats(0), object(), 1, id="the last token of all"),
        pytest.param(Stats(0), None, 0, id="requests that only wait"),
        pytest.param(None, None, 0, id="another message"),
    ],
)
def test_a_message_counts_if_something_ran(
    running: Stats | None, tokens: object, counted: int
) -> None:
    counter = StepCounter()
    counter.record(running, tokens, mm_cache_stats=None, engine_idx=0)
    assert counter.steps == counted
