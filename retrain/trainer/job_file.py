"""Read a job file of any kind. Importable without torch.

A job file without `kind` trains an adapter, as all job files of earlier releases do.
"""

import json
from pathlib import Path

from pydantic import ValidationError

from retrain.trainer.errors import JobError
from retrain.trainer.job import Job, problems, read_job
from retrain.trainer.reward.jobs import RewardJob, ScoreJob

AnyJob = Job | RewardJob | ScoreJob

_KINDS: dict[str, type[RewardJob] | type[ScoreJob]] = {"reward": RewardJob, "score": ScoreJob}


def read_job_file(path: Path) -> AnyJob:
    """Read and check a job file.

    Raises `JobError` if it cannot be read, a field is invalid, or a file that it names is missing.
    """
    model = _KINDS.get(_kind(path))
    if model is None:
        return read_job(path)
    try:
        job = model.model_validate_json(path.read_bytes()).resolved(path.absolute().parent)
    except ValidationError as error:
        raise JobError(f"the job file {path} is not valid: {problems(error)}") from None
    job.check_files()
    return job


def _kind(path: Path) -> str:
    """Return the kind of a job; empty if there is none, or if the file cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return ""  # `read_job` says what is wrong
    return str(content.get("kind", "")) if isinstance(content, dict) else ""
