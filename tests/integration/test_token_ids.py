"""The served token ids are those in the log and in the trainer's batches, on the real engine."""

from pathlib import Path

import pytest

from tests.lazy_modules import lazy

token_ids = lazy("bench.token_ids")


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.xdist_group("engine")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("newline_ends_turn", [False, True])
def test_the_trainer_is_fed_what_was_served(tmp_path: Path, *, newline_ends_turn: bool) -> None:
    outcome = token_ids.run_tiny(tmp_path, count=200, newline_ends_turn=newline_ends_turn)
    assert outcome.conversations == 200
    assert outcome.several_turns >= 100
    assert outcome.tools == 40
    assert outcome.streamed == 100
    assert outcome.prompt_is_the_templates == 200
    assert outcome.log_holds_the_ids == 200
    assert outcome.trainer_is_fed_the_ids == 200
    assert outcome.worst_difference <= token_ids.LIMIT
    # The test has teeth: rendering the answers again would have changed what is trained on.
    assert outcome.equal_if_rendered_again < (1 if newline_ends_turn else 200)
