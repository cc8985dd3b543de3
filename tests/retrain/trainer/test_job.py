import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from retrain.config import HyperParameters
from retrain.trainer.errors import JobError
from retrain.trainer.job import Job, read_job

VALID: dict[str, Any] = {"base_model": "org/model", "pairs": "pairs.jsonl", "output": "adapter"}


def write(folder: Path, **fields: Any) -> Path:
    (folder / "pairs.jsonl").touch()
    path = folder / "job.json"
    path.write_text(json.dumps(VALID | fields))
    return path


@pytest.mark.parametrize(
    "module", ["job", "events", "examples.rows", "errors", "scratch", "process"]
)
def test_what_the_caller_imports_does_not_import_torch(module: str) -> None:
    code = f"import sys, retrain.trainer.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_relative_paths_are_taken_from_the_job_files_folder(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, tensorboard="logs"))
    assert (job.pairs, job.output) == (tmp_path / "pairs.jsonl", tmp_path / "adapter")
    assert job.tensorboard == tmp_path / "logs"


def test_absolute_paths_and_the_base_model_stay_as_they_are(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, output="/elsewhere/adapter"))
    assert (job.base_model, job.output) == ("org/model", Path("/elsewhere/adapter"))


def test_a_job_survives_its_own_json(tmp_path: Path) -> None:
    job = Job.model_validate(VALID)
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_a_job_with_pairs_is_one_stage_of_dpo(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, minimum_pairs=7, hyper={"beta": 0.2}))
    (stage,) = job.planned
    assert (stage.method, stage.file, stage.minimum) == ("dpo", tmp_path / "pairs.jsonl", 7)
    assert stage.hyper == job.hyper


def test_the_files_of_stages_are_taken_from_the_job_files_folder(tmp_path: Path) -> None:
    kto = {"method": "kto", "file": "pairs.jsonl", "pairs": "pairs.jsonl"}
    job = read_job(write(tmp_path, pairs=None, stages=[kto]))
    (stage,) = job.planned
    assert (stage.file, stage.pairs) == (tmp_path / "pairs.jsonl", tmp_path / "pairs.jsonl")
    assert Job.model_validate_json(job.model_dump_json()) == job


KTO = {"method": "kto", "file": "pairs.jsonl"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"pairs": None}, "either stages or pairs"),
        ({"stages": [KTO]}, "either stages or pairs"),
        ({"pairs": None, "stages": [KTO | {"file": "none.jsonl"}]}, "none.jsonl for kto"),
        ({"pairs": None, "stages": [KTO | {"pairs": "none.jsonl"}]}, "none.jsonl for kto"),
        ({"pairs": None, "stages": [KTO | {"method": "ppo"}]}, "stages.0.method"),
        ({"pairs": None, "stages": [KTO | {"hyper": {"per_device_batch": 1}}]}, "per_device_batch"),
        ({"hyper": {"learning_rate": -1}}, "hyper.learning_rate"),
        ({"hyper": {"lerning_rate": 1}}, "hyper.lerning_rate"),
        ({"pairs": "none.jsonl"}, "pairs"),
        ({"warm_start": "nowhere"}, "warm_start"),
        ({"output": "."}, "output"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(JobError, match=named):
        read_job(write(tmp_path, **fields))


def test_a_missing_job_file_is_a_job_error(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cannot read"):
        read_job(tmp_path / "none.json")


@pytest.mark.parametrize("losses", [["sigmoid"], ["sft"], ["robust", "sigmoid"]])
def test_label_smoothing_is_refused_where_it_would_be_ignored(losses: list[str]) -> None:
    with pytest.raises(ValidationError, match="silently ignored"):
        HyperParameters.model_validate(
            {"loss_type": losses, "loss_weights": [1.0] * len(losses), "label_smoothing": 0.1}
        )


@pytest.mark.parametrize("losses", [["robust"], ["exo_pair", "sft"]])
def test_label_smoothing_is_allowed_where_it_is_honoured(losses: list[str]) -> None:
    hyper = HyperParameters.model_validate(
        {"loss_type": losses, "loss_weights": [1.0] * len(losses), "label_smoothing": 0.1}
    )
    assert hyper.label_smoothing == 0.1


@pytest.mark.parametrize(
    "fields",
    [
        {"loss_weights": [1.0]},
        {"loss_type": ["exo_pair"], "loss_weights": [1.0]},
        {"loss_type": ["aot"], "loss_weights": [1.0]},
        {"lora_dropout": 0.1, "precompute_ref_log_probs": False},
        {"lora_target_modules": ["q_proj", "lm_head"]},
    ],
)
def test_settings_that_would_not_train_as_said_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HyperParameters.model_validate(fields)
