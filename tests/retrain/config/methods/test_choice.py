"""Settings that the chosen method would ignore are refused by name."""

from typing import Any

import pytest
from pydantic import ValidationError

from retrain.config import RetrainConfig
from retrain.config.methods.choice import IGNORED, ignored_settings

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"orpo": {"beta": 0.2}}, "orpo.beta"),
        ({"method": "dpo", "kto": {"beta": 0.5}}, "kto.beta"),
        ({"method": "dpo", "minimum_labels": 200}, "minimum_labels"),
        ({"method": "kto", "hyper": {"learning_rate": 1e-3}}, "hyper.learning_rate"),
        ({"method": "kto", "trainer": {"learning_rate_first": 1e-3}}, "trainer.learning_rate_f"),
        ({"method": "orpo", "sft": {"epochs": 2}}, "sft.epochs"),
        ({"method": "orpo", "hyper": {"precompute_ref_log_probs": False}}, "hyper.precompute_ref"),
        ({"method": "sft", "minimum_pairs": 9}, "minimum_pairs"),
        ({"method": "kto", "hyper": {"per_device_batch": 1}}, "hyper.per_device_batch"),
    ],
)
def test_a_setting_that_the_method_would_ignore_is_named(
    settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValidationError, match=named):
        RetrainConfig.model_validate(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"hyper": {"learning_rate": 1e-3}, "trainer": {"learning_rate_first": 1e-3}},
        {"kto": {"beta": 0.5}, "sft": {"epochs": 2}},
        {"method": "kto", "kto": {"beta": 0.5}, "hyper": {"lora_rank": 8, "threads": 1}},
        {"method": "orpo", "orpo": {"beta": 0.2}, "minimum_pairs": 5},
        {"method": "sft", "sft": {"epochs": 2}, "kto": {}},
    ],
)
def test_settings_that_the_method_reads_are_taken(settings: dict[str, Any]) -> None:
    RetrainConfig.model_validate(settings)


@pytest.mark.parametrize("method", IGNORED)
def test_every_setting_that_could_be_ignored_exists(method: str) -> None:
    for place in IGNORED[method]:  # type: ignore[index]  # its own keys
        holder: Any = RetrainConfig()
        for name in place.split("."):
            assert name in type(holder).model_fields, place
            holder = getattr(holder, name)


def test_a_default_is_not_taken_for_a_setting() -> None:
    assert ignored_settings(RetrainConfig(), "kto") == []


def test_settings_that_were_written_out_whole_are_read_again() -> None:
    config = RetrainConfig(method="orpo")
    assert RetrainConfig.model_validate_json(config.model_dump_json()) == config
