"""The stages of a training job: files, minimum counts and hyper-parameters of a plan's methods."""

from pathlib import Path

from retrain.config import (
    HyperParameters,
    KtoConfig,
    Method,
    OrpoConfig,
    RetrainConfig,
    SftConfig,
)
from retrain.dataset.plan import Plan, PlannedStage
from retrain.dataset.training_set.assembly import LABELS, PAIRS
from retrain.trainer.job import TrainingStage


def training_stages(
    plan: Plan, folder: Path, config: RetrainConfig, *, fresh: bool
) -> tuple[TrainingStage, ...]:
    """Return the job's stages.

    Args:
        plan: The planned methods.
        folder: Folder of the training set.
        config: The settings.
        fresh: Whether the first stage trains a new adapter.

    """
    return tuple(
        _stage(planned, folder, config, fresh=fresh and at == 0)
        for at, planned in enumerate(plan.stages)
    )


def _stage(
    planned: PlannedStage, folder: Path, config: RetrainConfig, *, fresh: bool
) -> TrainingStage:
    method, pairs = planned.method, (folder / PAIRS).absolute()
    labels = (folder / LABELS).absolute()
    kto = method == "kto"
    return TrainingStage(
        method=method,
        file=labels if kto else pairs,
        pairs=pairs if kto and planned.unpaired else None,
        minimum=_minimum(method, config),
        desirable_weight=config.kto.desirable_weight if kto else None,
        undesirable_weight=config.kto.undesirable_weight if kto else None,
        hyper=hyper_of(method, config, fresh=fresh),
    )


def _minimum(method: Method, config: RetrainConfig) -> int:
    match method:
        case "kto":
            return config.minimum_labels
        case "sft":
            return config.minimum_demonstrations
        case _:
            return config.minimum_pairs


def hyper_of(method: Method, config: RetrainConfig, *, fresh: bool) -> HyperParameters:
    """Return a method's hyper-parameters; a new adapter may have a learning rate of its own."""
    sections: dict[str, KtoConfig | OrpoConfig | SftConfig] = {
        "kto": config.kto,
        "orpo": config.orpo,
        "sft": config.sft,
    }
    own = sections.get(method)
    if own is None:
        first = config.trainer.learning_rate_first
        changes = {"learning_rate": first} if fresh and first is not None else {}
        return config.hyper.model_copy(update=changes)
    names = {"beta", "learning_rate", "epochs"} & type(own).model_fields.keys()
    values = {name: getattr(own, name) for name in names}
    if fresh and own.learning_rate_first is not None:
        values["learning_rate"] = own.learning_rate_first
    return config.hyper.model_copy(update=values)
