"""Settings from the environment, whose values are texts."""

import pytest

from server.settings import Settings, misspelt

pytestmark = pytest.mark.pure


def test_a_rank_can_be_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_ENGINE__MAX_LORA_RANK", "8")
    assert Settings().engine.max_lora_rank == 8


@pytest.mark.parametrize(
    "name", ["PAWL_SERVR__PORT", "PAWL_RETRAIN_ENABLED", "pawl_server_port", "PAWL___PORT"]
)
def test_a_variable_that_sets_nothing_is_found(name: str) -> None:
    assert list(misspelt([name, "PATH"])) == [name]


def test_settings_and_other_peoples_variables_are_let_be() -> None:
    settings = ["PAWL_DATA_DIR", "PAWL_RETRAIN__GATE__ALPHA", "PAWL_CHANNELS", "pawl_server__port"]
    others = ["PAWL_URL", "PAWL_KEY", "PAWL_API_KEY", "PAWL_SERVER_OF_OURS", "SERVR__PORT"]
    assert list(misspelt([*settings, *others])) == []
