"""Modules named by regular expressions, as PEFT and Unsloth write them, matched in bounded time."""

import re
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.config import AdaptersConfig
from adapters.errors import ConfigError
from adapters.vetting.peft_config import PeftConfig
from adapters.vetting.target_modules import BoundedMatcher
from adapters.vetting.vet import vet
from tests.adapters.adapter_files import BASE, arrays, make_adapter

Q = "model.layers.0.self_attn.q_proj"
UP = "model.layers.0.mlp.up_proj"
UNSLOTH = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)|"
    r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\."
    r"(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))"
)
LONG = "a" * 300
EXPONENTIAL = r".*\.(a|aa)+[bc]"
"""Against `LONG`; Python's own `re` takes as long for many more."""


def peft(**fields: Any) -> PeftConfig:
    return PeftConfig(peft_type="LORA", r=4, lora_alpha=8, **fields)


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": r".*\.(q_proj|up_proj)"},
        {"target_modules": r"model\.layers\.\d+\.(self_attn|mlp)\..*"},
        {"target_modules": r"^(?!.*vision).*(?:q_proj|up_proj)$"},
        {"target_modules": UNSLOTH},
        {"target_modules": "ALL-LINEAR"},
        {"exclude_modules": r".*vision_tower.*"},
        {"exclude_modules": r".*\.layers\.[1-9]\d*\..*"},
        {"rank_pattern": {r"layers\.\d+\.mlp\.(gate|up)_proj": 4}},
        {"rank_pattern": {r"^model\.layers\.0\.self_attn\.q_proj": 4}},
        {"alpha_pattern": {r"self_attn\.[qk]_proj": 16.0}},
    ],
)
def test_regular_expressions_that_peft_takes_are_taken(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    assert vet(make_adapter(tmp_path / "a", config=config), BASE, AdaptersConfig()).modules == 2


def test_a_key_that_is_an_expression_gives_a_module_its_rank(tmp_path: Path) -> None:
    config = {"r": 8, "rank_pattern": {r"(self_attn|mlp)\.\w+_proj": 4}}
    folder = make_adapter(tmp_path / "a", config=config)
    assert vet(folder, BASE, AdaptersConfig()).rank == 4


def test_an_expression_that_takes_for_ever_is_refused(tmp_path: Path) -> None:
    tensors = {name.replace("layers.0", LONG): tensor for name, tensor in arrays().items()}
    config = {"target_modules": None, "rank_pattern": {rf"{EXPONENTIAL}\..*": 4}}
    folder = make_adapter(tmp_path / "a", tensors=tensors, config=config)
    with pytest.raises(ConfigError, match="too long to match"):
        vet(folder, replace(BASE, modules={}), AdaptersConfig())


@pytest.mark.parametrize("whole", [True, False])
def test_an_expression_that_takes_for_ever_is_given_up(whole: bool) -> None:
    matcher, name = BoundedMatcher(seconds=0.1), f"model.{LONG}"
    with pytest.raises(ConfigError, match="too long to match"):
        matcher.names(EXPONENTIAL, name) if whole else matcher.first_key(["(a|aa)+[bc]"], name)


def test_the_time_of_all_matches_together_is_bounded() -> None:
    clock = iter([0.0, 0.0, 1.0, 2.5])
    matcher = BoundedMatcher(seconds=2.0, monotonic=lambda: next(clock))
    assert [matcher.names("a.*", "abc"), matcher.names("a.*", "b")] == [True, False]
    with pytest.raises(ConfigError, match="too long to match"):
        matcher.names("a.*", "abc")


@pytest.mark.parametrize(
    "pattern",
    ["x" * 9000, "a\nb", "(?:q_proj){e<=2}", r"\p{L}+", "(?R)", "[[a-z]--[b]]", r"\L<names>", ""],
)
@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "rank_pattern"])
def test_what_two_readers_may_read_differently_is_refused(
    tmp_path: Path, field: str, pattern: str
) -> None:
    value = {pattern: 4} if field == "rank_pattern" else pattern
    folder = make_adapter(tmp_path / "a", config={field: value})
    with pytest.raises(ConfigError, match=field):
        vet(folder, BASE, AdaptersConfig())


@pytest.mark.parametrize(
    ("keys", "module", "first"),
    [
        (["q_proj"], Q, "q_proj"),
        (["proj"], Q, None),
        (["self_attn.q_proj", "q_proj"], Q, "self_attn.q_proj"),
        (["up_proj", "q.proj"], Q, "q.proj"),
        (["q_proj|up_proj"], UP, "q_proj|up_proj"),
        ([r"layers\.[1-9]\.self_attn\.q_proj"], Q, None),
        ([Q], Q, Q),
        ([f"^{Q}"], Q, f"^{Q}"),
    ],
)
def test_the_first_key_that_ends_the_name_counts(
    keys: list[str], module: str, first: str | None
) -> None:
    assert BoundedMatcher().first_key(keys, module) == first


PART = st.text(string.ascii_lowercase + "_", min_size=1, max_size=3)


@given(st.lists(st.lists(PART, min_size=1, max_size=3).map(".".join), max_size=4), st.data())
def test_keys_are_matched_as_peft_does(keys: list[str], data: st.DataObject) -> None:
    name = ".".join(data.draw(st.lists(PART, min_size=1, max_size=4)))
    expected = next((key for key in keys if re.match(rf"(.*\.)?({key})$", name)), None)
    assert BoundedMatcher().first_key(keys, name) == expected


@pytest.mark.parametrize(
    ("fields", "scaling"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 4.0),
        ({"use_rslora": None}, 2.0),
        ({"alpha_pattern": {"q_proj": 1.0}}, 0.25),
        ({"alpha_pattern": {"up_proj": 1.0}}, 2.0),
        ({"rank_pattern": {"q_proj": 1}}, 8.0),
        ({"rank_pattern": {"q_proj": 16}, "use_rslora": True}, 2.0),
        ({"rank_pattern": {"q_proj": 2}, "alpha_pattern": {r".*attn\.\w+": 6.0}}, 3.0),
    ],
)
def test_the_scaling_is_the_engines(fields: dict[str, Any], scaling: float) -> None:
    assert peft(**fields).scaling_of(Q, BoundedMatcher()) == scaling
