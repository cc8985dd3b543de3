"""A reward model in trainer processes, as a run uses it: trained, asked, and refused."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from retrain.config import RetrainConfig, TrainerConfig
from retrain.errors import TrainingError
from retrain.evaluation.judges import JudgeError
from retrain.evaluation.verdicts import BatchJudge, ScoredItem
from retrain.judging.reward_jobs import PeopleJudge, TooFewVotesError, TrainerProcesses
from retrain.launchers.local import SubprocessLauncher
from retrain.trainer.job_file import read_job_file
from retrain.trainer.reward.jobs import RewardJob
from tests.retrain.trainer.reward.votes import DIGEST, answers, score, write_reward_job
from tests.retrain.world import make_config

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.timeout(180)]


def processes(base: Path) -> TrainerProcesses:
    return TrainerProcesses(
        launcher=SubprocessLauncher(TrainerConfig()),
        lock=asyncio.Lock(),
        config=RetrainConfig(),
        base_model=str(base),
        digest=DIGEST,
    )


def reward_job(folder: Path, base: Path, **fields: object) -> RewardJob:
    job = read_job_file(write_reward_job(folder, base, **fields))  # type: ignore[arg-type]
    assert isinstance(job, RewardJob)
    return job


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def items() -> list[ScoredItem]:
    return [ScoredItem(row["prompt_token_ids"], row["token_ids"]) for row in answers([20, 21])]


async def test_a_process_scores_as_this_one_does_and_leaves_no_answer_behind(
    trained: Path, base: Path, tmp_path: Path
) -> None:
    judge = PeopleJudge(processes(base), trained / "model", tmp_path / "work")
    assert isinstance(judge, BatchJudge)
    assert await judge.score(items()) == pytest.approx(score(trained, base, answers([20, 21])))
    assert names(tmp_path) == []


async def test_a_process_trains(base: Path, tmp_path: Path) -> None:
    job = reward_job(tmp_path / "judge", base, hyper={"epochs": 1.0})
    await processes(base).train(job, tmp_path / "work")
    assert (job.output / "training.json").is_file()


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        ("too_few", TooFewVotesError, "2 pairs, fewer than the minimum of 10"),
        ("fails", TrainingError, "NonFiniteError: lower learning_rate"),
        ("dies", TrainingError, "ended with code 9"),
    ],
)
async def test_too_few_votes_are_told_from_failures(
    behaviour: str, error: type[Exception], message: str, base: Path, tmp_path: Path
) -> None:
    trainer = make_config(behaviour).trainer
    fake = replace(processes(base), launcher=SubprocessLauncher(trainer))
    with pytest.raises(error, match=message):
        await fake.train(reward_job(tmp_path / "judge", base), tmp_path / "work")


async def test_scores_of_a_process_that_cannot_start_are_an_error_of_the_judge(
    trained: Path, base: Path, tmp_path: Path
) -> None:
    nothing = SubprocessLauncher(TrainerConfig(command=("/no/such/trainer",)))
    judge = PeopleJudge(replace(processes(base), launcher=nothing), trained / "model", tmp_path)
    with pytest.raises(JudgeError, match="cannot be started"):
        await judge.score(items())
