"""What the doctor says of the base model's family."""

import json
from pathlib import Path

import pytest

from server.cli import doctor
from server.engine.config import EngineConfig
from server.engine.dtype import Processor
from server.settings import Settings


def findings(folder: Path, name: str, **config: object) -> list[tuple[str, str]]:
    (folder / "config.json").write_text(json.dumps(config))
    settings = Settings(engine=EngineConfig(model=str(folder)), data_dir=folder / "data")
    found = [finding for finding in doctor.examine(settings) if finding.name == name]
    return [(finding.state, finding.text) for finding in found]


def test_a_family_that_can_be_served_is_fine(tmp_path: Path) -> None:
    given = findings(tmp_path, "family", model_type="qwen3", architectures=["Qwen3ForCausalLM"])
    assert given == [("ok", "qwen3")]


def test_a_family_without_adapters_is_named_with_what_to_do(tmp_path: Path) -> None:
    ((state, text),) = findings(
        tmp_path, "family", model_type="gpt2", architectures=["GPT2LMHeadModel"]
    )
    assert state == "bad"
    assert "gpt2" in text
    assert "name a base model of another family" in text


def test_a_family_that_is_not_trained_is_named_with_what_to_do(tmp_path: Path) -> None:
    given = findings(
        tmp_path, "model", model_type="llama4", architectures=["Llama4ForConditionalGeneration"]
    )
    (text,) = [text for state, text in given if state == "warning"]
    assert "llama4" in text
    assert "name a base model of another family" in text


def test_experts_are_bad_where_vllm_is_built_for_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"model_type": "mixtral", "architectures": ["M"], "num_local_experts": 8}
    for cpu, state in ((True, "bad"), (False, "ok")):
        monkeypatch.setattr(doctor, "vllm_is_for_cpus", lambda cpu=cpu: cpu)
        assert [found for found, _ in findings(tmp_path, "family", **config)] == [state]


def test_the_type_that_auto_takes_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "vllm_is_for_cpus", lambda: True)
    old = Processor(frozenset({"avx2"}), memory=2**40)
    monkeypatch.setattr("server.engine.dtype.this_processor", lambda: old)
    given = findings(tmp_path, "dtype", model_type="llama", dtype="bfloat16")
    assert given == [("ok", "float32: this processor has no instructions for bfloat16")]
