"""Settings from the environment, whose values are texts."""

import pytest

from server.settings import Settings


def test_a_rank_can_be_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_ENGINE__MAX_LORA_RANK", "8")
    assert Settings().engine.max_lora_rank == 8
