"""The judge of a run: the one that the settings name, or the one that the run trained itself."""

import asyncio
import shutil
from pathlib import Path

from common.files import sync
from retrain.config import HyperParameters, RetrainConfig
from retrain.evaluation.verdicts import AnyJudge
from retrain.gates.judge_agreement import judge_agreement
from retrain.judging.agreement import calibrations, rated
from retrain.judging.gather import gather_votes, held_out_labels, held_out_pairs
from retrain.judging.ranking import ranking
from retrain.judging.reward_jobs import PeopleJudge, TooFewVotesError, TrainerProcesses
from retrain.judging.storage import (
    JUDGE,
    MODEL,
    VOTE_FILES,
    WORK,
    JudgeRecord,
    has_record,
    read_record,
    write_record,
)
from retrain.run.context import RunContext
from retrain.run.snapshots import window_snapshots
from retrain.trainer.reward.jobs import RewardJob

TRAINING = "training"
COIN = 0.5
"""The AUROC, and the agreement with people, of a judge that guesses."""


async def train_judge(context: RunContext) -> None:
    """Train the run's judge on what people said, and check it on people it has not seen.

    Does nothing if that is done. Its record says whether it may judge, and why not. Raises
    `TrainingError` and `JudgeError`.
    """
    folder = context.folder / JUDGE
    if not await asyncio.to_thread(has_record, folder):
        try:
            record = await _trained(context, folder)
        finally:  # they are user text, some of it older than this run's own
            await asyncio.to_thread(_remove_texts, folder)
        await asyncio.to_thread(write_record, folder, record)
    record = await asyncio.to_thread(read_record, folder)
    await context.save_figures(judge=record.model_dump(mode="json"))


async def run_judge(context: RunContext) -> AnyJudge | None:
    """Return what compares answers in this run, or None if nothing does.

    Counterparts and the evaluation use the same judge. With `judge = "people"` it is None if the
    run could not train one that is better than a guess. Raises `JudgeLostError` before the step
    that trains it.
    """
    spec = context.environment.config.judge
    if spec != "people":
        return None if spec == "none" else context.environment.judge
    folder = context.folder / JUDGE
    record = await asyncio.to_thread(read_record, folder)
    return await _people_judge(context) if record.trained else None


async def _people_judge(context: RunContext) -> PeopleJudge:
    folder = context.folder / JUDGE
    processes = await _processes(context)
    return PeopleJudge(processes, folder / MODEL, folder / WORK)


async def _processes(context: RunContext) -> TrainerProcesses:
    environment = context.environment
    on_disk = environment.base_on_disk
    digest = environment.base.fingerprint if on_disk is None else await asyncio.to_thread(on_disk)
    return TrainerProcesses(
        launcher=environment.launcher,
        lock=environment.training,
        config=environment.config,
        base_model=environment.base.name,
        digest=digest,
    )


async def _trained(context: RunContext, folder: Path) -> JudgeRecord:
    """Train and check the judge; return its record."""
    processes = await _processes(context)
    await processes.clear(folder / WORK)
    snapshots = await window_snapshots(context)
    pairs, labels = (folder / name for name in VOTE_FILES)
    gathered = await asyncio.to_thread(gather_votes, snapshots, pairs, labels)
    least = context.environment.config.people_judge.minimum_votes
    about = JudgeRecord(
        trained=False,
        reason=f"{gathered.votes} votes, fewer than retrain.people_judge.minimum_votes = {least}",
        base_digest=processes.digest,
        sources=gathered.sources,
        signals=gathered.signals,
    )
    if gathered.votes < least:
        return about
    try:
        await _train(context, processes, folder)
    except TooFewVotesError as error:
        return about.model_copy(update={"reason": str(error)})
    return await _checked(context, list(snapshots.values()), about)


async def _train(context: RunContext, processes: TrainerProcesses, folder: Path) -> None:
    """Train into a folder of this owner's, and move it into place while the lease is held."""
    draft = folder / f"{MODEL}-{context.lease.fence}"
    await asyncio.to_thread(_clear, folder)
    await processes.train(_job(context, processes, folder, draft), folder / WORK / TRAINING)
    await context.save(step=context.run.step)  # raises if the lease is lost
    await asyncio.to_thread(_put_in_place, draft, folder / MODEL)


def _job(context: RunContext, processes: TrainerProcesses, folder: Path, draft: Path) -> RewardJob:
    environment = context.environment
    pairs, labels = (folder / name for name in VOTE_FILES)
    return RewardJob(
        base_model=environment.base.name,
        base_digest=processes.digest,
        pairs=pairs.absolute(),
        labels=labels.absolute(),
        minimum=environment.config.people_judge.minimum_votes,
        output=draft.absolute(),
        chat_template=environment.chat_template,
        seed=environment.config.seed,
        parent_pid=environment.launcher.parent_pid,
        head_learning_rate=environment.config.people_judge.head_learning_rate,
        label_weight=environment.config.people_judge.label_weight,
        hyper=_hyper(environment.config),
    )


def _hyper(config: RetrainConfig) -> HyperParameters:
    """Return the sizes and precision of the adapter's training with the judge's own rates."""
    own = config.people_judge
    return config.hyper.model_copy(
        update={
            "learning_rate": own.learning_rate,
            "epochs": own.epochs,
            "lora_rank": own.lora_rank,
            "lora_alpha": own.lora_alpha,
            "lora_dropout": 0.0,
            "max_steps": None,
        }
    )


async def _checked(context: RunContext, snapshots: list[Path], about: JudgeRecord) -> JudgeRecord:
    """Hold the judge against the ratings and comparisons of held-out people."""
    config = context.environment.config
    judge = await _people_judge(context)
    labels = await asyncio.to_thread(held_out_labels, snapshots)
    pairs = await asyncio.to_thread(held_out_pairs, snapshots)
    seen = await calibrations(
        judge,
        pairs,
        most=config.evaluation.calibration,
        seed=config.seed,
        concurrency=config.evaluation.judge_concurrency,
    )
    ranked = ranking(await rated(judge, labels), seed=config.seed)
    agreement = judge_agreement(seen)
    better = (ranked is not None and ranked.low > COIN) or (
        agreement is not None and agreement.low > COIN
    )
    reason = "better than a guess" if better else "not shown to be better than a guess"
    return about.model_copy(
        update={
            "trained": better,
            "reason": f"{reason} on people it has not seen",
            "ranking": ranked,
            "agreement": agreement,
        }
    )


def _clear(folder: Path) -> None:
    """Remove the models of earlier owners' trainers; one that still runs will fail."""
    for path in folder.glob(f"*{MODEL}*"):
        shutil.rmtree(path, ignore_errors=True)


def _put_in_place(draft: Path, model: Path) -> None:
    draft.rename(model)
    sync(model.parent)


def _remove_texts(folder: Path) -> None:
    """Remove the merged votes and the jobs' files."""
    for name in VOTE_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / WORK, ignore_errors=True)
