"""The learning benchmark's cases, without running them: their settings and their arithmetic."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.learning.shop_settings import KTO, NOBODY, PANEL, shop_settings
from server.settings import Settings
from tests.lazy_modules import lazy

follow_ups = lazy("bench.learning.follow_ups")
shop_cases = lazy("bench.learning.shop_cases")
simulated = lazy("bench.learning.shop")


def parsed(shop: Any) -> Settings:
    text = shop_settings(
        Path("model"),
        1,
        retrain=shop.retrain,
        counterparts=shop.counterparts,
        sections=shop.sections,
    )
    return Settings.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("own", ["", "PEOPLE", "SOLVED", "TALKING"])
@pytest.mark.parametrize("retrain", [PANEL, NOBODY, 'judge = "people"'])
def test_the_settings_are_what_a_server_takes(retrain: str, own: str) -> None:
    sections = KTO + (getattr(shop_cases, own) if own else "")
    shop = simulated.Shop(weeks=1, retrain=retrain, sections=sections, counterparts=True)
    settings = parsed(shop)
    assert settings.retrain.counterparts.enabled
    assert settings.retrain.kto.beta == 0.5


def test_the_control_has_neither_counterparts_nor_a_method_for_labels() -> None:
    settings = parsed(simulated.Shop(weeks=1, retrain=f'method = "dpo"\n{PANEL}'))
    assert not settings.retrain.counterparts.enabled
    assert settings.retrain.method == "dpo"


@pytest.mark.parametrize(
    ("message", "says"),
    [("Great, thanks.", 1.0), ("No, that is wrong.", -1.0), ("It is raining here.", 0.0)],
)
def test_the_reader_knows_thanks_and_complaints(message: str, says: float) -> None:
    assert follow_ups.read([], "12 dollars.", message) == says


def test_flipping_a_fifth_leaves_a_coins_half_alone_and_turns_truth_into_four_fifths() -> None:
    assert shop_cases.flipped(0.0, 0.2) == pytest.approx(0.2)
    assert shop_cases.flipped(0.5, 0.2) == pytest.approx(0.5)
    assert shop_cases.flipped(0.05, 0.0) == pytest.approx(0.05)
