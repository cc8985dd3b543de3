"""Modules that a config names by expressions are named one by one, for readers without a bound."""

from pathlib import Path
from typing import Any

import pytest

from adapters.vetting.spelled_out import LoraModule, spelled_out
from tests.adapters.adapter_files import MODULES, make_adapter

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"
SLOW = r"(?:[\w.]+_?)+proj"
"""Python's `re` takes for ever on a longer name that it does not match."""


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": SLOW},
        {"exclude_modules": r"(?:[\w.]+_?)+[A-Z]"},
        {"rank_pattern": {SLOW: 4}},
        {"alpha_pattern": {r"(self_attn|mlp)\.\w+": 8}},
    ],
)
def test_modules_named_by_expressions_are_named_one_by_one(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    found = spelled_out(make_adapter(tmp_path / "a", config=fields))
    assert found == dict.fromkeys(MODULES, LoraModule(4, 8))


def test_ranks_and_alphas_stay_those_of_their_modules(tmp_path: Path) -> None:
    fields = {"r": 8, "rank_pattern": {r".*_proj": 4}, "alpha_pattern": {r"(mlp|x)\.\w+": 32}}
    found = spelled_out(make_adapter(tmp_path / "a", config=fields))
    assert found == {Q: LoraModule(4, 8), UP: LoraModule(4, 32)}


@pytest.mark.parametrize(
    "fields",
    [{}, {"target_modules": "all-linear"}, {"rank_pattern": {"q_proj": 4}}],
)
def test_a_config_of_plain_names_is_left_to_peft(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert spelled_out(make_adapter(tmp_path / "a", config=fields)) is None
