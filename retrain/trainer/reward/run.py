"""Train a reward model, from the job to the published folder."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PrinterCallback, set_seed

from retrain.config import HyperParameters
from retrain.trainer.artifact import publish
from retrain.trainer.callbacks import StepEvents
from retrain.trainer.events import Dropped, EventWriter, Saved, Started
from retrain.trainer.examples.prepared import Bounds
from retrain.trainer.examples.row_rendering import renderer
from retrain.trainer.libraries import versions
from retrain.trainer.memory import with_one_halving
from retrain.trainer.model import Device, load_tokenizer, pick_device, vocabulary_size
from retrain.trainer.reward.jobs import RewardJob
from retrain.trainer.reward.likelihood import figures_of
from retrain.trainer.reward.model import RewardModel, new_reward_model, save_reward_model
from retrain.trainer.reward.record import RewardRecord
from retrain.trainer.reward.scoring import report_halving, score_probes, use_threads
from retrain.trainer.reward.trainer import RewardTrainer, reward_trainer
from retrain.trainer.reward.votes import PeopleVote, Votes, read_votes


def train_reward(job: RewardJob, events: EventWriter, scratch: Path) -> None:
    """Train a reward model and write it to `job.output`, which is not created on failure.

    Arguments and errors are those of `retrain.trainer.run.run`.
    """
    started = time.monotonic()
    use_threads(job.hyper.threads)
    device, votes = pick_device(job.hyper), _read(job)
    _announce(job, device, votes, events)

    def attempt(hyper: HyperParameters) -> tuple[RewardTrainer, StepEvents]:
        sized = job.model_copy(update={"hyper": hyper})
        return _train(sized, device, votes, scratch, events)

    trainer, steps = with_one_halving(attempt, job.hyper, report_halving(events))
    model: RewardModel = trainer.model
    folder = scratch / "model"
    save_reward_model(model, job.base_model, folder)
    probes = score_probes(model.eval(), job.base_model, job.hyper)
    seconds = time.monotonic() - started
    record = _record(job, device, votes, trainer, steps, probes, seconds)
    digest = publish(folder, job.output, record)
    events.write(Saved(folder=str(job.output), sha256=digest, seconds=seconds))


def _read(job: RewardJob) -> Votes:
    tokenizer = load_tokenizer(job.base_model, job.chat_template)
    return read_votes(
        job.pairs,
        job.labels,
        renderer(tokenizer, job.base_model),
        Bounds(
            max_length=job.hyper.max_length,
            vocabulary=vocabulary_size(job.base_model),
            minimum=job.minimum,
        ),
        label_weight=job.label_weight,
    )


def _train(
    job: RewardJob, device: Device, votes: Votes, scratch: Path, events: EventWriter
) -> tuple[RewardTrainer, StepEvents]:
    set_seed(job.seed)
    model = new_reward_model(job.base_model, job.hyper, device)
    ready = _with_figures(model, votes.all, job.hyper.per_device_batch)
    trainer = reward_trainer(job, device, model, ready, scratch / "trainer")
    steps = StepEvents(events)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(steps)
    trainer.train()
    return trainer, steps


def _announce(job: RewardJob, device: Device, votes: Votes, events: EventWriter) -> None:
    events.write(
        Started(
            versions=versions(),
            device=device.name,
            precision=device.precision,
            pairs=len(votes.all),
            signals=dict(votes.signals),
            warm_start=False,
            hyper=job.hyper,
        )
    )
    if votes.dropped:
        events.write(Dropped(reasons=dict(votes.dropped)))


def _with_figures(model: RewardModel, votes: Sequence[PeopleVote], batch: int) -> list[PeopleVote]:
    """Return the votes with how likely the base model finds each answer, and standardise that."""
    answers = [answer for vote in votes for answer in vote.answers]
    figures = figures_of(model.backbone, answers, batch)
    model.standardise(figures)
    known = iter(replace(one, figures=own) for one, own in zip(answers, figures, strict=True))
    return [replace(vote, answers=tuple(next(known) for _ in vote.answers)) for vote in votes]


def _record(
    job: RewardJob,
    device: Device,
    votes: Votes,
    trainer: RewardTrainer,
    steps: StepEvents,
    probes: list[float],
    seconds: float,
) -> RewardRecord:
    return RewardRecord(
        base_model=job.base_model,
        base_digest=job.base_digest,
        seed=job.seed,
        hyper=job.hyper,
        head_learning_rate=job.head_learning_rate,
        label_weight=job.label_weight,
        pairs=len(votes.comparisons),
        labels=len(votes.labels),
        signals=dict(votes.signals),
        dropped=dict(votes.dropped),
        steps=trainer.state.global_step,
        last=steps.last,
        probes=probes,
        precision=device.precision,
        versions=versions(),
        device=device.name,
        seconds=seconds,
    )
