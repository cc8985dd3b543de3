"""Model families, detected from a model's `config.json` without importing vLLM or torch.

`docs/models.md` lists the families that were tested. The tables are those of vLLM 0.32;
`test_families.py` compares them with the installed version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CONFIG_FILE: Final = "config.json"
_LIMIT_BYTES: Final = 16 * 1024 * 1024

WITHOUT_LORA: Final = frozenset(
    {"BailingMoeV2_5ForCausalLM", "BailingMoeV3ForCausalLM", "BloomForCausalLM"}
    | {"Cohere2MoeForCausalLM", "DbrxForCausalLM", "FalconForCausalLM", "FalconMambaForCausalLM"}
    | {"Gemma3nForCausalLM", "Glm5NextForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM"}
    | {"HrmTextForCausalLM", "HCXVisionV2ForCausalLM", "IQuestLoopCoderForCausalLM"}
    | {"KimiLinearForCausalLM", "MambaForCausalLM", "Mamba2ForCausalLM"}
    | {"MiniMaxM3SparseForCausalLM", "MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"}
    | {"OrionForCausalLM", "Step1ForCausalLM", "Step3TextForCausalLM", "Step3p5ForCausalLM"}
    | {"StableLmForCausalLM", "Zamba2ForCausalLM"}
    | {"AriaForConditionalGeneration", "BailingMoeV3VLForConditionalGeneration"}
    | {"BeeForConditionalGeneration", "Cohere2VisionForConditionalGeneration"}
    | {"Cosmos3EdgeForConditionalGeneration", "DeepseekVLV2ForCausalLM", "DeepseekV41ForCausalLM"}
    | {"Dots3NoteForCausalLM", "FireRedASR2ForConditionalGeneration"}
    | {"FunASRForConditionalGeneration", "FunAudioChatForConditionalGeneration"}
    | {"Gemma3nForConditionalGeneration", "DiffusionGemmaForBlockDiffusion"}
    | {"KananaVForConditionalGeneration", "KimiVLForConditionalGeneration"}
    | {"KimiK25ForConditionalGeneration", "KimiK3ForConditionalGeneration"}
    | {"MoonshotKimiaForCausalLM", "MossTranscribeDiarizeForConditionalGeneration"}
    | {"LlavaOnevisionForConditionalGeneration", "LlavaOnevision2ForConditionalGeneration"}
    | {"MiDashengLMModel", "MiMoV2OmniForCausalLM", "MiniMaxM3SparseForConditionalGeneration"}
    | {"Moondream3ForCausalLM", "HfMoondream", "OpenVLAForActionPrediction", "Ovis", "Ovis2_5"}
    | {"Ovis2_6ForCausalLM", "Ovis2_6_MoeForCausalLM", "PaddleOCRVLForConditionalGeneration"}
    | {"Phi3VForCausalLM", "Phi4ForCausalLMV", "Qwen2AudioForConditionalGeneration"}
    | {"RForConditionalGeneration", "SkyworkR1VChatModel", "StepVLForConditionalGeneration"}
    | {"Step3VLForConditionalGeneration", "Step3p7ForConditionalGeneration"}
    | {"CohereAsrForConditionalGeneration", "NemotronParseForConditionalGeneration"}
)
"""Architectures for which vLLM does not support LoRA: their class lacks `SupportsLoRA`."""

_NOT_TRAINED: Final[Mapping[str, str]] = {
    "llama4": "TRL 1.16 cannot train it (it takes the whole model for the backbone)",
}
"""Families (`model_type`) that are served with adapters but cannot be trained, with the reason."""

_LOADED, _STORED = "model.language_model.", "language_model.model."
_RENAMED_STACK: Final[Mapping[str, str]] = {
    "Gemma3ForConditionalGeneration": _STORED,
    "LlavaForConditionalGeneration": _STORED,
    "LlavaNextForConditionalGeneration": _STORED,
    "Mistral3ForConditionalGeneration": _STORED,
    "PaliGemmaForConditionalGeneration": _STORED,
    "Qwen2VLForConditionalGeneration": "model.",
    "Qwen2_5_VLForConditionalGeneration": "model.",
}
"""Prefix of the language model's tensors in the files of architectures that transformers 5 loads as
`model.language_model.`; vLLM's `hf_to_vllm_mapper` maps both to the same module."""

TOWERS: Final = frozenset(
    {"audio_tower", "connector", "embed_vision", "mm_projector", "multi_modal_projector"}
    | {"vision_model", "vision_tower", "visual"}
)
"""Parts of a multimodal model outside its language model. vLLM silently ignores adapters there,
unless it is started with an option that Pawl does not set."""

FUSED_ELSEWHERE: Final[Mapping[str, frozenset[str]]] = {
    "Glm4ForCausalLM": frozenset({"gate_up_proj"}),
}
"""Modules by architecture that the model's files hold fused, while vLLM's `packed_modules_mapping`
expects an adapter on their parts: it refuses to load one on the fused module."""

_EXPERT_COUNTS: Final = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


@dataclass(frozen=True, slots=True)
class Family:
    """A model's family: the `model_type` and the first of the `architectures` of its config."""

    model_type: str
    architecture: str
    experts: bool = False

    def why_not_served(self, *, cpu: bool) -> str | None:
        """Return why the engine cannot serve adapters on it and what to do, or None if it can.

        `cpu` is whether the engine runs on a CPU. Architectures that no table lists are accepted.
        """
        if self.architecture in WITHOUT_LORA:
            return (
                f"vLLM serves no adapters on the family {self.model_type} ({self.architecture}): "
                "name a base model of another family (docs/models.md lists those that were tried)"
            )
        if cpu and self.experts:
            return (
                f"vLLM serves no adapters on a CPU where a model has experts ({self.model_type}): "
                "serve it on a GPU, or name a base model without experts"
            )
        return None

    def why_not_trained(self) -> str | None:
        """Return why it cannot be trained and what to do; None if it can, or if that is unknown."""
        reason = _NOT_TRAINED.get(self.model_type)
        if reason is None:
            return None
        return (
            f"the family {self.model_type} is not trained: {reason}; "
            "name a base model of another family (docs/models.md)"
        )

    def takes_adapters_on(self, module: str) -> bool:
        """Return whether vLLM loads an adapter on the module of that name."""
        fused = FUSED_ELSEWHERE.get(self.architecture, frozenset())
        return module.rsplit(".", 1)[-1] not in fused

    def loaded_name(self, stored: str) -> str:
        """Return the name of a module after transformers has loaded it; `stored` is the file's."""
        stack = _RENAMED_STACK.get(self.architecture)
        if stack is None or not stored.startswith(stack) or stored.startswith(_LOADED):
            return stored
        return _LOADED + stored.removeprefix(stack)


def read_family(folder: Path) -> Family | None:
    """Return the family of the model in `folder`, or None if its config names none.

    Raises `OSError`.
    """
    config = _config(folder / CONFIG_FILE)
    architectures = config.get("architectures")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not isinstance(architectures, list) or not architectures:
        return None
    return Family(model_type, str(architectures[0]), experts=_has_experts(config))


def in_tower(name: str) -> bool:
    """Return whether a module is part of a vision or audio tower, or of its projector."""
    return not TOWERS.isdisjoint(name.split("."))


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > _LIMIT_BYTES:
        return {}
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _has_experts(config: Mapping[str, Any]) -> bool:
    text = config.get("text_config")
    parts = [config, text] if isinstance(text, dict) else [config]
    counts = [part.get(name) for part in parts for name in _EXPERT_COUNTS]
    return any(isinstance(count, int) and count > 1 for count in counts)
