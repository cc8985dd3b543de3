import tomllib
from pathlib import Path

import pytest

from demo.settings import RolloutChoice, demo_settings
from retrain.evaluation.judges import Judge, load_object
from server.settings import Settings

pytestmark = pytest.mark.pure


def parsed(rollout: RolloutChoice) -> Settings:
    text = demo_settings(Path("model"), 7, rollout)
    return Settings.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("choice", list(RolloutChoice))
def test_the_file_is_what_the_server_takes_and_says_what_follows_the_gate(
    choice: RolloutChoice,
) -> None:
    settings = parsed(choice)
    assert settings.retrain.rollout == choice.value
    assert settings.retrain.seed == 7
    assert settings.server.adjustable_clock


@pytest.mark.parametrize("choice", list(RolloutChoice))
def test_the_judge_can_be_loaded(choice: RolloutChoice) -> None:
    spec = parsed(choice).retrain.judge
    assert isinstance(spec, str)
    made = load_object(spec)
    assert callable(made)
    assert isinstance(made(), Judge)


def test_the_online_gate_keeps_its_defaults() -> None:
    canary = parsed(RolloutChoice.CANARY).retrain.canary
    assert canary.gate == type(canary.gate)()
    assert canary.watch_days == 7
    assert canary.share == 0.5
