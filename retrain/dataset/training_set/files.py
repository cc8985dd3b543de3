"""The training set: the frozen rows that a run trains on, and the plan of its stages.

A folder, created atomically: `pairs.jsonl` (the snapshot's pairs, then pairs that the run made
itself, then pairs of earlier runs), `labels.jsonl` (answers judged by themselves that are in no
pair) and `manifest.json` with the plan, counts and hashes. A resumed run finds it and trains on the
same bytes.
"""

from contextlib import closing
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from common.files import FileRecord, LineWriter, matches, new_folder, write_whole
from retrain.config import RetrainConfig
from retrain.dataset.plan import Plan, plan_stages
from retrain.dataset.training_set.assembly import LABELS, PAIRS, Assembly, Sources
from retrain.errors import SnapshotError

MANIFEST = "manifest.json"


class TrainingManifest(BaseModel):
    """The content of a training set, in numbers.

    Attributes:
        plan: The stages, and why they were chosen.
        base_fingerprint: Fingerprint of the base model whose token ids the rows hold.
        pairs_by_origin: Number of pairs by where they come from.
        pairs_by_signal: Number of pairs by signal.
        labels_up: Answers judged good by themselves.
        labels_down: Answers judged bad by themselves.
        left_out: Number of pairs, labels and earlier runs that are not in the set, by reason.
        oldest_text: Time of the oldest text.
        files: Size and hash of each file.

    """

    model_config = ConfigDict(frozen=True)

    plan: Plan
    base_fingerprint: str
    pairs_by_origin: dict[str, int]
    pairs_by_signal: dict[str, int]
    labels_up: int
    labels_down: int
    left_out: dict[str, int]
    oldest_text: AwareDatetime
    files: dict[str, FileRecord]


def freeze_training_set(
    folder: Path,
    sources: Sources,
    config: RetrainConfig,
    judged: bool,  # noqa: FBT001 - as of the plan
) -> TrainingManifest:
    """Write the training set to `folder`, replacing an earlier one; return its manifest.

    Args:
        folder: The set's folder.
        sources: What it is made of.
        config: The settings.
        judged: Whether a judge finds counterparts.

    Raises:
        OSError: A file cannot be read or written.

    """
    made = Assembly(sources, config)
    with new_folder(folder) as draft:
        with closing(LineWriter(draft / PAIRS)) as pairs:
            made.add_own(pairs)
            with closing(LineWriter(draft / LABELS)) as labels:
                made.add_labels(labels)
            plan = plan_stages(made.counts(), config, judged)
            if plan.stages:
                made.add_earlier(pairs)
        files = {PAIRS: pairs.close(), LABELS: labels.close()}
        manifest = _manifest(made, plan, files)
        write_whole(draft / MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def open_training_set(folder: Path) -> TrainingManifest:
    """Read the manifest and check every file against it.

    Raises `SnapshotError` if a file is missing or was changed.
    """
    try:
        manifest = TrainingManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise SnapshotError("the run has no training set: start another run") from error
    except ValidationError as error:
        raise SnapshotError("the training set's manifest is damaged: start another run") from error
    for name, record in manifest.files.items():
        if not matches(folder / name, record):
            raise SnapshotError(f"{name} of the training set was changed: start another run")
    return manifest


def _manifest(made: Assembly, plan: Plan, files: dict[str, FileRecord]) -> TrainingManifest:
    return TrainingManifest(
        plan=plan,
        base_fingerprint=made.sources.manifest.about.base_fingerprint,
        pairs_by_origin=dict(sorted(made.by_origin.items())),
        pairs_by_signal=dict(sorted(made.by_signal.items())),
        labels_up=made.labels[True],
        labels_down=made.labels[False],
        left_out=dict(sorted((+made.left_out).items())),
        oldest_text=made.oldest_text(),
        files=files,
    )
