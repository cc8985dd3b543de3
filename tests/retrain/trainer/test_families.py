"""Each family is trained and vetted, or refused before: never trained and then refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.config import AdaptersConfig
from adapters.vetting.base_model import BaseModelInfo, read_modules, renamed_tensors
from adapters.vetting.base_norms import BaseNorms
from adapters.vetting.families import read_family
from adapters.vetting.vet import vet
from retrain.trainer.errors import JobError
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import run_job
from tests.tiny_families import BY_NAME, FAMILIES, Family, make_family

model_side = lazy("retrain.trainer.model")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

REFUSED = {"bloom", "falcon", "gpt2", "gptj", "llama4", "mamba", "stablelm"}
"""Said at the start and by `pawl doctor`, before anything is trained."""


def served(folder: Path) -> BaseModelInfo:
    norms = BaseNorms(folder, tensors=renamed_tensors(folder))
    return BaseModelInfo(
        "tiny", "f" * 64, 8, read_modules(folder), norms=norms, family=read_family(folder)
    )


def train(folder: Path, base: Path, **job: Any) -> Path:
    """One step on two pairs, in token ids."""
    rows = [
        {
            "id": str(number),
            "prompt_token_ids": [5, 6, 7 + number],
            "chosen": {"token_ids": [9, 10 + number, 2]},
            "rejected": {"token_ids": [12, 2]},
            "signal": "preference",
        }
        for number in range(2)
    ]
    hyper = {"lora_rank": 4, "max_steps": 1, "threads": 1, **job.pop("hyper", {})}
    run_job(folder, base, rows=rows, hyper=hyper, **job)
    return folder / "adapter"


def test_more_than_twenty_families_go_through() -> None:
    assert len(BY_NAME) == len(FAMILIES)
    assert len(set(BY_NAME) - REFUSED) > 50


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_trained_and_vetted_or_refused_before(tmp_path: Path, family: Family) -> None:
    base = make_family(family, tmp_path / "base")
    known = read_family(base)
    assert known is not None
    refusal = known.why_not_served(cpu=False) or known.why_not_trained()
    if family.name in REFUSED:
        assert refusal is not None
        assert family.model_type in refusal
        return
    assert refusal is None
    info = served(base)
    adapter = train(tmp_path, base, served_modules=sorted(info.modules))
    assert vet(adapter, info, AdaptersConfig()).modules > 0
    assert all(info.norms.of(name) for name in info.modules)


@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "deepseek_v2", "granitemoe"])
def test_experts_are_left_out_of_the_default(tmp_path: Path, name: str) -> None:
    adapter = train(tmp_path, make_family(BY_NAME[name], tmp_path / "base"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert not config["target_parameters"]
    assert config["target_modules"]
    assert not [target for target in config["target_modules"] if "expert" in target]


@pytest.mark.parametrize("wanted", [["gate_proj"], ["q_proj", "experts"], ["lm_head2"]])
def test_a_target_that_cannot_be_served_is_refused_before_the_first_step(
    tmp_path: Path, wanted: list[str]
) -> None:
    base = make_family(BY_NAME["qwen3_moe"], tmp_path / "base")
    with pytest.raises(JobError, match=r"qwen3_moe; take k_proj, o_proj, q_proj, v_proj"):
        train(tmp_path, base, hyper={"lora_target_modules": wanted})


def test_a_named_target_is_trained_in_the_language_model_only(tmp_path: Path) -> None:
    base = make_family(BY_NAME["gemma3"], tmp_path / "base")
    adapter = train(tmp_path, base, hyper={"lora_target_modules": ["q_proj"]})
    targets = json.loads((adapter / "adapter_config.json").read_text())["target_modules"]
    assert sorted(targets) == [
        f"model.language_model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)
    ]


def test_a_base_whose_modules_the_server_does_not_know_is_refused_before_the_first_step(
    tmp_path: Path,
) -> None:
    base = make_family(BY_NAME["llama"], tmp_path / "base")
    with pytest.raises(JobError, match="family llama has no linear module"):
        train(tmp_path, base, served_modules=["transformer.layers.0.q_proj"])


def test_an_adapter_of_a_renamed_family_is_a_warm_start(tmp_path: Path) -> None:
    base = make_family(BY_NAME["gemma3"], tmp_path / "base")
    (tmp_path / "first").mkdir()
    live = train(tmp_path / "first", base)
    (tmp_path / "second").mkdir()
    adapter = train(tmp_path / "second", base, warm_start=str(live))
    assert vet(adapter, served(base), AdaptersConfig()).modules == 2 * 7


@pytest.mark.parametrize("name", ["opt", "seed_oss", "phimoe"])
def test_what_is_random_in_a_familys_own_training_is_off(tmp_path: Path, name: str) -> None:
    base = make_family(BY_NAME[name], tmp_path / "base")
    config = model_side.quiet_config(str(base)).to_dict()
    noisy = {key: value for key, value in config.items() if "drop" in key or "jitter" in key}
    assert noisy
    assert not [key for key, value in noisy.items() if isinstance(value, float) and value]
