"""What PEFT itself writes for a real architecture is let in, and its mistakes are not."""

from pathlib import Path
from typing import Any

import pytest

from adapters.config import AdaptersConfig
from adapters.errors import UnsupportedAdapterError, VettingError
from adapters.vetting.base_model import BaseModelInfo, read_modules
from adapters.vetting.base_norms import BaseNorms
from adapters.vetting.vet import vet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def llama(layers: int = 2, hidden: int = 32) -> Any:
    """A Llama of random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415 - slow to import

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=hidden,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def save_lora(model: Any, folder: Path, **settings: Any) -> Path:
    """An adapter on `model`, as PEFT saves it."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import

    config = LoraConfig(**{"r": 4, "task_type": "CAUSAL_LM", **settings})
    get_peft_model(model, config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelInfo:
    folder = tmp_path_factory.mktemp("base")
    llama().save_pretrained(str(folder))
    modules = read_modules(folder)
    return BaseModelInfo("llama", "0" * 64, 16, modules, norms=BaseNorms(folder))


def test_the_modules_of_a_saved_model_are_all_its_linear_ones(base: BaseModelInfo) -> None:
    assert len(base.modules) == 2 * 7
    assert base.modules["model.layers.1.self_attn.k_proj"] == (16, 32)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "v_proj"], "use_rslora": True},
        {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"layers.0.self_attn.q_proj": 8}},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": r".*\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"},
        {"target_modules": r"^(?!.*vision).*(?:q_proj|v_proj)$", "alpha_pattern": {r"q_\w+": 16}},
        {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*layers\.0\..*"},
        {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {r"layers\.\d\.\w+\.q_proj": 8}},
    ],
)
def test_peft_adapters_are_let_in(
    base: BaseModelInfo, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = save_lora(llama(), tmp_path / "a", **settings)
    assert vet(folder, base, AdaptersConfig()).rank in (4, 8)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj"], "use_dora": True},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "r": 32},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_peft_adapters_that_cannot_be_served_are_refused(
    base: BaseModelInfo, tmp_path: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(VettingError):
        vet(save_lora(llama(), tmp_path / "a", **settings), base, AdaptersConfig())


@pytest.mark.parametrize("shape", [{"layers": 3}, {"hidden": 64}])
def test_adapters_of_another_model_are_refused(
    base: BaseModelInfo, tmp_path: Path, shape: dict[str, int]
) -> None:
    folder = save_lora(llama(**shape), tmp_path / "a", target_modules="all-linear")
    with pytest.raises(VettingError, match="add adapters of llama only"):
        vet(folder, base, AdaptersConfig())


def test_embeddings_that_were_saved_along_are_explained(
    base: BaseModelInfo, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import

    model = get_peft_model(llama(), LoraConfig(r=4, target_modules=["q_proj"]))
    model.save_pretrained(str(tmp_path / "along"), save_embedding_layers=True)
    with pytest.raises(UnsupportedAdapterError, match="save_embedding_layers=False"):
        vet(tmp_path / "along", base, AdaptersConfig())
    model.save_pretrained(str(tmp_path / "alone"), save_embedding_layers=False)
    assert vet(tmp_path / "alone", base, AdaptersConfig()).rank == 4


def test_names_as_they_are_in_memory_are_explained(base: BaseModelInfo, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import
    from safetensors.torch import save_file  # noqa: PLC0415

    model = get_peft_model(llama(), LoraConfig(r=4, target_modules=["q_proj"]))
    model.save_pretrained(str(tmp_path / "a"))
    raw = {name: value for name, value in model.state_dict().items() if "lora_" in name}
    save_file(raw, tmp_path / "a" / "adapter_model.safetensors")
    with pytest.raises(UnsupportedAdapterError, match=r"model\.save_pretrained"):
        vet(tmp_path / "a", base, AdaptersConfig())


def test_an_ia3_adapter_is_refused(base: BaseModelInfo, tmp_path: Path) -> None:
    from peft import IA3Config, get_peft_model  # noqa: PLC0415 - slow to import

    config = IA3Config(
        task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=["k_proj"]
    )
    get_peft_model(llama(), config).save_pretrained(str(tmp_path / "a"))
    with pytest.raises(UnsupportedAdapterError, match="peft_type LORA"):
        vet(tmp_path / "a", base, AdaptersConfig())
