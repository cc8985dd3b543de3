"""The reward model: the served base model, LoRA on it, and a scalar head of our own.

The head is our own for every family, since about half of the causal families of transformers have
no class for sequence classification, and those that have one pool at the rightmost token that is
not padding: where padding is the end of a turn, a finished and a cut answer would be read at the
same place. Here lengths tell where an answer ends, never the ids. The base is loaded by the same
classes as for training an adapter, so no family that can be trained is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pad_sequence

from retrain.config import HyperParameters
from retrain.trainer.artifact import save_adapter
from retrain.trainer.errors import JobError, NonFiniteError
from retrain.trainer.model import Device, load_base
from retrain.trainer.reward.likelihood import FIGURES
from retrain.trainer.reward.record import HEAD
from retrain.trainer.reward.votes import AnswerIds
from retrain.trainer.targets import ALL_LINEAR, choose_targets

PAD = 0
"""Fills rows of a batch. Any id would do, since it is masked and never pooled."""


class RewardModel(torch.nn.Module):
    """Scores answers: a linear function of what the base model makes of prompt and answer.

    The features are the last hidden state at the answer's last token, which has seen all of it, and
    how likely the base model itself finds the answer (`likelihood`). The latter tell a made-up fact
    from a known one, which votes alone teach slowly. They are standardised over the votes.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        width = int(backbone.config.get_text_config().hidden_size)
        place = {"device": backbone.device, "dtype": torch.float32}
        self.backbone = backbone
        self.head = torch.nn.Linear(width, 1, **place)
        self.likelihood = torch.nn.Linear(FIGURES, 1, bias=False, **place)
        for weight in (self.head.weight, self.head.bias, self.likelihood.weight):
            torch.nn.init.zeros_(weight)
        self.register_buffer("means", torch.zeros(FIGURES, **place))
        self.register_buffer("spreads", torch.ones(FIGURES, **place))

    @property
    def device(self) -> Any:
        """Where its inputs must be."""
        return self.head.weight.device

    def standardise(self, figures: Sequence[Sequence[float]]) -> None:
        """Take mean and spread of the likelihood figures from these rows, [n, FIGURES]."""
        values = torch.tensor(figures, dtype=torch.float32, device=self.device)
        self.means.copy_(values.mean(0))
        self.spreads.copy_(values.std(0, unbiased=False).clamp(min=1e-3))

    def forward(self, input_ids: Any, lengths: Any, figures: Any) -> Any:
        """Return the scores of N rows, float32 [N], as logits.

        Args:
            input_ids: int64 [N, T], prompt and answer, padded on the right.
            lengths: int64 [N], where each answer ends.
            figures: float32 [N, FIGURES], from `likelihood.figures_of`.

        """
        hidden = last_hidden_state(self.backbone, input_ids, lengths)
        rows = torch.arange(len(lengths), device=input_ids.device)
        standard = (figures - self.means) / self.spreads
        scores = self.head(hidden[rows, lengths - 1].float()) + self.likelihood(standard)
        return scores[:, 0]


def last_hidden_state(backbone: Any, input_ids: Any, lengths: Any) -> Any:
    """Return the last hidden states, [N, T, width]; what follows each row's length is masked."""
    places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    mask = (places < lengths[:, None]).long()
    found = backbone(
        input_ids=input_ids, attention_mask=mask, output_hidden_states=True, use_cache=False
    )
    return found.hidden_states[-1]


def padded(answers: Sequence[AnswerIds]) -> dict[str, Any]:
    """Return the arguments of `RewardModel.forward` for these answers, on the CPU."""
    rows = [torch.tensor(answer.ids) for answer in answers]
    return {
        "input_ids": pad_sequence(rows, batch_first=True, padding_value=PAD),
        "lengths": torch.tensor([len(answer.ids) for answer in answers]),
        "figures": torch.tensor([answer.figures for answer in answers], dtype=torch.float32),
    }


def new_reward_model(base_model: str, hyper: HyperParameters, device: Device) -> RewardModel:
    """Return an untrained reward model on a base model. Raises `JobError`."""
    base = _prepared_base(base_model, hyper, device)
    lora = LoraConfig(
        r=hyper.lora_rank,
        lora_alpha=hyper.lora_alpha,
        lora_dropout=hyper.lora_dropout,
        target_modules=choose_targets(base, ALL_LINEAR),
        task_type="CAUSAL_LM",
    )
    return RewardModel(get_peft_model(base, lora))


def load_reward_model(
    folder: Path, base_model: str, hyper: HyperParameters, device: Device
) -> RewardModel:
    """Return a stored reward model. Raises `JobError` if its files do not fit the base model."""
    base = _prepared_base(base_model, hyper, device)
    try:
        model = RewardModel(PeftModel.from_pretrained(base, str(folder)))
        _load_own(model, load_file(folder / HEAD))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise JobError(
            f"model: the reward model in {folder} does not fit the base model; start the run again"
        ) from error
    model.eval()
    return model


def save_reward_model(model: RewardModel, base_model: str, folder: Path) -> None:
    """Write LoRA and head into `folder`. Raises `NonFiniteError`."""
    save_adapter(model.backbone, base_model, folder)
    own = {name: value.contiguous().cpu() for name, value in _own(model).items()}
    if not all(bool(torch.isfinite(value).all()) for value in own.values()):
        raise NonFiniteError("the head holds NaN or infinite weights; lower the learning rate")
    save_file(own, folder / HEAD)


def _own(model: RewardModel) -> dict[str, Any]:
    """Return the tensors of the model that are not the backbone's."""
    named = model.state_dict().items()
    return {name: value for name, value in named if not name.startswith("backbone.")}


def _load_own(model: RewardModel, tensors: dict[str, Any]) -> None:
    found = model.load_state_dict(tensors, strict=False)
    missing = [name for name in found.missing_keys if not name.startswith("backbone.")]
    if missing or found.unexpected_keys:
        raise ValueError("the head's tensors are others than expected")


def _prepared_base(base_model: str, hyper: HyperParameters, device: Device) -> Any:
    base = load_base(base_model, hyper, device)
    if device.cuda if hyper.gradient_checkpointing is None else hyper.gradient_checkpointing:
        # Not reentrant, so that the frozen embeddings' output needs no gradient.
        base.gradient_checkpointing_enable({"use_reentrant": False})
    return base
