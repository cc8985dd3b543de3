"""What is known of families agrees with the vLLM that is installed, and is told in time."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.vetting.base_model import read_modules
from adapters.vetting.families import (
    _LOADED,
    _RENAMED_STACK,
    FUSED_ELSEWHERE,
    WITHOUT_LORA,
    Family,
    in_tower,
    read_family,
)
from tests.adapters.adapter_files import safetensors_bytes


def write_config(folder: Path, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_family_is_read_from_the_models_config(tmp_path: Path) -> None:
    write_config(tmp_path, model_type="qwen3", architectures=["Qwen3ForCausalLM"])
    assert read_family(tmp_path) == Family("qwen3", "Qwen3ForCausalLM")


@pytest.mark.parametrize(
    "config",
    [
        {"num_experts": 8},
        {"num_local_experts": 8},
        {"n_routed_experts": 8},
        {"text_config": {"num_local_experts": 8}},
    ],
)
def test_experts_are_seen_under_each_of_their_names(tmp_path: Path, config: dict[str, Any]) -> None:
    write_config(tmp_path, model_type="some", architectures=["Some"], **config)
    family = read_family(tmp_path)
    assert family is not None
    assert family.experts


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "{}", '{"model_type": 1, "architectures": ["A"]}', '{"model_type": "a"}'],
)
def test_a_config_that_does_not_tell_gives_no_family(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert read_family(tmp_path) is None


def test_a_folder_without_a_config_gives_no_family(tmp_path: Path) -> None:
    assert read_family(tmp_path) is None


def test_a_family_without_adapters_is_named_with_what_to_do() -> None:
    reason = Family("gpt2", "GPT2LMHeadModel").why_not_served(cpu=False)
    assert reason is not None
    assert "gpt2" in reason
    assert "name a base model of another family" in reason


def test_experts_are_served_on_a_gpu_only() -> None:
    family = Family("qwen3_moe", "Qwen3MoeForCausalLM", experts=True)
    assert family.why_not_served(cpu=False) is None
    assert "on a GPU" in (family.why_not_served(cpu=True) or "")


def test_an_architecture_that_no_table_names_is_let_through() -> None:
    family = Family("new", "NewForCausalLM")
    assert family.why_not_served(cpu=True) is None
    assert family.why_not_trained() is None


def test_a_family_that_is_not_trained_is_named_with_what_to_do() -> None:
    reason = Family("llama4", "Llama4ForConditionalGeneration").why_not_trained()
    assert reason is not None
    assert "llama4" in reason
    assert "name a base model of another family" in reason


@pytest.mark.parametrize(
    ("architecture", "stored", "loaded"),
    [
        (
            "Gemma3ForConditionalGeneration",
            "language_model.model.layers.0.mlp.up_proj",
            "model.language_model.layers.0.mlp.up_proj",
        ),
        (
            "Qwen2_5_VLForConditionalGeneration",
            "model.layers.0.mlp.up_proj",
            "model.language_model.layers.0.mlp.up_proj",
        ),
        (
            "Gemma3ForConditionalGeneration",
            "model.language_model.layers.0.mlp.up_proj",
            "model.language_model.layers.0.mlp.up_proj",
        ),
        ("LlamaForCausalLM", "model.layers.0.mlp.up_proj", "model.layers.0.mlp.up_proj"),
    ],
)
def test_an_adapter_may_name_a_module_as_the_files_do_or_as_it_is_loaded(
    tmp_path: Path, architecture: str, stored: str, loaded: str
) -> None:
    write_config(tmp_path, model_type="some", architectures=[architecture])
    tensors = {f"{stored}.weight": np.ones((12, 8), dtype=np.float32)}
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    assert read_modules(tmp_path) == {stored: (12, 8), loaded: (12, 8)}


@pytest.mark.parametrize(
    "name",
    [
        "vision_tower.encoder.layers.0.self_attn.q_proj",
        "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
        "visual.blocks.0.attn.proj",
        "multi_modal_projector.linear_1",
        "model.connector.modality_projection.proj",
    ],
)
def test_modules_outside_the_language_model_are_not_offered_to_adapters(
    tmp_path: Path, name: str
) -> None:
    assert in_tower(name)
    tensors = {f"{name}.weight": np.ones((12, 8), dtype=np.float32)}
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    assert read_modules(tmp_path) == {}


@pytest.mark.parametrize("name", ["word_embeddings", "decoder.embed_positions", "embeddings"])
def test_embeddings_of_every_family_are_left_out(tmp_path: Path, name: str) -> None:
    tensors = {f"model.{name}.weight": np.ones((12, 8), dtype=np.float32)}
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    assert read_modules(tmp_path) == {}


class Source:
    """The installed vLLM's model classes, read and not imported: that would take minutes."""

    def __init__(self) -> None:
        spec = find_spec("vllm")
        assert spec is not None
        assert spec.origin is not None
        self._root = Path(spec.origin).parent
        self.classes: dict[str, list[ast.ClassDef]] = defaultdict(list)
        for folder in ("model_executor/models", "models"):
            for path in sorted((self._root / folder).rglob("*.py")):
                for node in ast.parse(path.read_bytes()).body:
                    if isinstance(node, ast.ClassDef):
                        self.classes[node.name].append(node)

    def architectures(self) -> Iterator[tuple[str, str]]:
        """Each architecture that writes text, and the class that serves it."""
        tree = ast.parse((self._root / "model_executor/models/registry.py").read_bytes())
        for node in tree.body:
            names = {target.id for target in getattr(node, "targets", []) if hasattr(target, "id")}
            if names & {"_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS"}:
                assert isinstance(node, ast.Assign)
                for architecture, (_, name) in ast.literal_eval(node.value).items():
                    yield architecture, name

    def serves_adapters(self, name: str) -> bool:
        """Whether the class, or one it is made from, says so."""
        if name == "SupportsLoRA":
            return True
        bases = [base for node in self.classes.get(name, []) for base in node.bases]
        return any(self.serves_adapters(ast.unparse(base).split(".")[-1]) for base in bases)

    def packed(self, name: str) -> Mapping[str, list[str]]:
        """The class's `packed_modules_mapping`."""
        for node in (node for found in self.classes[name] for node in found.body):
            targets = getattr(node, "targets", [])
            if any(getattr(one, "id", "") == "packed_modules_mapping" for one in targets):
                assert isinstance(node, ast.Assign)
                mapping: dict[str, list[str]] = ast.literal_eval(node.value)
                return mapping
        return {}

    def renames(self, name: str) -> Mapping[str, str | None]:
        """The prefixes that the class renames in the names of weights and adapters."""
        for node in (node for found in self.classes[name] for node in ast.walk(found)):
            if isinstance(node, ast.keyword) and node.arg == "orig_to_new_prefix":
                prefixes: dict[str, str | None] = ast.literal_eval(node.value)
                return prefixes
        return {}


@pytest.fixture(scope="module")
def source() -> Source:
    return Source()


@pytest.mark.slow
def test_the_families_without_adapters_are_those_of_the_installed_vllm(source: Source) -> None:
    architectures = source.architectures()
    without = {name for name, served in architectures if not source.serves_adapters(served)}
    assert without == WITHOUT_LORA


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(_RENAMED_STACK))
def test_vllm_takes_both_names_of_a_module_for_the_same(source: Source, architecture: str) -> None:
    served = dict(source.architectures())[architecture]
    prefixes = source.renames(served)
    rest = "layers.0.mlp.up_proj"
    stored, loaded = _RENAMED_STACK[architecture] + rest, _LOADED + rest
    assert renamed(stored, prefixes) == renamed(loaded, prefixes) == "language_model.model." + rest


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(FUSED_ELSEWHERE))
def test_vllm_expects_adapters_on_the_parts_of_these_modules(
    source: Source, architecture: str
) -> None:
    packed = source.packed(dict(source.architectures())[architecture])
    for module in FUSED_ELSEWHERE[architecture]:
        assert module not in packed[module]


def test_a_module_that_vllm_refuses_is_not_offered_to_adapters(tmp_path: Path) -> None:
    write_config(tmp_path, model_type="glm4", architectures=["Glm4ForCausalLM"])
    weights = {
        f"model.layers.0.mlp.{name}.weight": np.zeros((4, 4), np.float32)
        for name in ("gate_up_proj", "down_proj")
    }
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(weights))
    assert set(read_modules(tmp_path)) == {"model.layers.0.mlp.down_proj"}


def renamed(name: str, prefixes: Mapping[str, str | None]) -> str:
    """As `WeightsMapper` renames: by every prefix, one after the other."""
    for old, new in prefixes.items():
        if new is not None and name.startswith(old):
            name = name.replace(old, new, 1)
    return name
