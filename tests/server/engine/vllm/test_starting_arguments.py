"""The settings, as vLLM gets them."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
from pydantic import ValidationError

from server.engine.config import EngineConfig
from server.engine.errors import EngineStartError
from server.engine.vllm.arguments import (
    prepare_environment,
    refuse_unsafe,
    require_adapters,
    require_generation,
    served_name,
    vllm_arguments,
)


def test_a_cpu_gets_a_bounded_cache_and_no_compilation() -> None:
    arguments = vllm_arguments(EngineConfig(model="m", kv_cache_gib=2), cpu=True)
    assert arguments[arguments.index("--kv-cache-memory-bytes") + 1] == str(2 * 1024**3)
    assert "--enforce-eager" in arguments


def test_a_gpu_gets_its_share_of_memory() -> None:
    arguments = vllm_arguments(EngineConfig(model="m", gpu_memory_utilization=0.8), cpu=False)
    assert arguments[arguments.index("--gpu-memory-utilization") + 1] == "0.8"
    assert "--enforce-eager" not in arguments


def test_extra_arguments_have_the_last_word() -> None:
    arguments = vllm_arguments(EngineConfig(model="m", extra_args=["--dtype", "half"]), cpu=True)
    assert arguments[-2:] == ["--dtype", "half"]


def test_fewer_slots_than_a_roll_out_needs_are_refused() -> None:
    with pytest.raises(ValidationError):
        EngineConfig(model="m", adapter_slots=3)


@pytest.mark.parametrize("switch", ["trust_request_chat_template", "enable_log_requests"])
def test_unsafe_switches_are_refused(switch: str) -> None:
    with pytest.raises(EngineStartError, match="extra_args"):
        refuse_unsafe(Namespace(**{switch: True}))


def test_a_model_that_writes_no_text_is_refused() -> None:
    with pytest.raises(EngineStartError, match="chat model"):
        require_generation("some/embedder", ("embed",))


def test_a_folder_is_served_by_its_last_name(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    assert served_name(str(tmp_path / "tiny")) == "tiny"
    assert served_name("org/name") == "org/name"


def test_the_plug_in_joins_those_that_are_listed() -> None:
    environment = {"VLLM_PLUGINS": "mine", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    prepare_environment(environment, cpu=True)
    assert environment["VLLM_PLUGINS"] == "mine,pawl"
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "0"


def test_the_plug_in_needs_no_list() -> None:
    environment: dict[str, str] = {}
    prepare_environment(environment, cpu=False)
    assert "VLLM_PLUGINS" not in environment


@pytest.mark.parametrize(
    ("config", "cpu", "named"),
    [
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, False, "gpt2"),
        (
            {"model_type": "mixtral", "architectures": ["Mixtral"], "num_local_experts": 8},
            True,
            "mixtral",
        ),
    ],
)
def test_a_family_without_adapters_is_refused_before_the_engine_starts(
    tmp_path: Path, config: dict[str, object], *, cpu: bool, named: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineStartError, match=rf"engine\.model: .*{named}"):
        require_adapters(str(tmp_path), cpu=cpu)


@pytest.mark.parametrize("model", ["", "no/such-model", "no such model", "../elsewhere"])
def test_a_model_that_nobody_has_looked_at_is_left_to_the_engine(model: str) -> None:
    require_adapters(model, cpu=True)
