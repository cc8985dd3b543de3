"""Run the jobs of a reward model in trainer processes, and read what they wrote."""

import asyncio
import json
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from common.files import PRIVATE_FOLDER, write_whole
from retrain.config import RetrainConfig
from retrain.errors import TrainingError
from retrain.evaluation.judges import JudgeError
from retrain.evaluation.verdicts import ScoredItem
from retrain.launchers.processes import run_trainer
from retrain.ports import Launcher
from retrain.trainer.errors import TooFewPairsError
from retrain.trainer.events import Failed
from retrain.trainer.reward.jobs import AnswerRow, RewardJob, ScoreJob

JOB, ROWS, SCORES = "job.json", "rows.jsonl", "scores.jsonl"
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
TRIES = 3
"""Processes per job, at most. One that is killed (SIGKILL) is started again, since another process
may have used up the memory."""
SCORED_AT_ONCE = 8
"""Answers per forward pass. Scoring keeps no gradients, so twice the default of training fits."""


class TooFewVotesError(TrainingError):
    """Once rendered, fewer votes than the minimum can be trained on."""


@dataclass(frozen=True, slots=True)
class TrainerProcesses:
    """Starts trainer processes, one at a time, on the base model.

    `digest` is the fingerprint of the base model's files as they are now.
    """

    launcher: Launcher
    lock: asyncio.Lock
    config: RetrainConfig
    base_model: str
    digest: str

    async def train(self, job: RewardJob, folder: Path) -> None:
        """Train a reward model with `folder` for the job's own files.

        Raises `TooFewVotesError` or `TrainingError`, with the trainer's reason.
        """
        failure = await self._run(job, folder)
        if failure is not None and failure.reason == TooFewPairsError.__name__:
            raise TooFewVotesError(failure.message)
        if failure is not None:
            raise TrainingError(f"{failure.reason}: {failure.message}")
        if not job.output.is_dir():
            raise TrainingError(f"no reward model was written: see trainer.log in {folder.name}")

    async def score(self, model: Path, items: Sequence[ScoredItem], folder: Path) -> list[float]:
        """Score answers with `folder` for the job's own files, which is removed afterwards.

        Raises `JudgeError`, with the trainer's reason.
        """
        try:
            job = await asyncio.to_thread(self._score_job, model, items, folder)
            failure = await self._run(job, folder)
            if failure is not None:
                raise JudgeError(f"{failure.reason}: {failure.message}")
            return await asyncio.to_thread(_scores, job.output, len(items))
        except TrainingError as error:
            raise JudgeError(str(error)) from error
        finally:
            await asyncio.to_thread(_remove, folder)

    async def clear(self, folder: Path) -> None:
        """Kill the processes of an earlier owner whose jobs are in `folder`; remove their files."""
        for job in await asyncio.to_thread(lambda: sorted(folder.glob(f"*/{JOB}"))):
            await self.launcher.kill_leftover(job)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _run(self, job: RewardJob | ScoreJob, folder: Path) -> Failed | None:
        path = await asyncio.to_thread(_write_job, folder, job)
        for _ in range(TRIES):
            async with self.lock:
                failure, code = await run_trainer(self.launcher, path)
            if failure is not None or code == 0:
                return failure
            if code not in KILLED:
                raise TrainingError(f"the trainer ended with code {code}: see its log")
        raise TrainingError("the trainer was killed each time: check what ran out of memory")

    def _score_job(self, model: Path, items: Sequence[ScoredItem], folder: Path) -> ScoreJob:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
        rows = folder / ROWS
        with rows.open("w") as lines:
            for item in items:
                row = AnswerRow(
                    prompt_token_ids=list(item.prompt_token_ids), token_ids=list(item.token_ids)
                )
                lines.write(row.model_dump_json() + "\n")
        return ScoreJob(
            base_model=self.base_model,
            base_digest=self.digest,
            model=model.absolute(),
            rows=rows.absolute(),
            output=(folder / SCORES).absolute(),
            parent_pid=self.launcher.parent_pid,
            per_device_batch=max(SCORED_AT_ONCE, self.config.hyper.per_device_batch),
            threads=self.config.hyper.threads,
        )


@dataclass(frozen=True, slots=True)
class PeopleJudge:
    """A reward model as a judge. Implements `retrain.evaluation.verdicts.BatchJudge`."""

    processes: TrainerProcesses
    model: Path
    work: Path

    @property
    def name(self) -> str:
        """See `BatchJudge`."""
        return "people"

    async def score(self, items: Sequence[ScoredItem]) -> list[float]:
        """See `BatchJudge`. Starts a trainer process that loads the model: seconds at least."""
        return await self.processes.score(self.model, items, self.work / uuid4().hex)


def _write_job(folder: Path, job: RewardJob | ScoreJob) -> Path:
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    path = folder / JOB
    write_whole(path, job.model_dump_json(indent=2).encode())
    return path


def _remove(folder: Path) -> None:
    """Remove a job's folder, and the folder that it is in if it was the last one."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


def _scores(path: Path, count: int) -> list[float]:
    try:
        scores = [float(json.loads(line)) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise JudgeError("the scores cannot be read: see trainer.log of the run") from error
    if len(scores) != count:
        raise JudgeError(f"{len(scores)} of {count} answers were scored")
    return scores
