"""Score answers with a stored reward model, from the job to the published file."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from pydantic import ValidationError

from common.files import sync
from retrain.config import HyperParameters
from retrain.trainer.artifact import RECORD
from retrain.trainer.errors import JobError
from retrain.trainer.events import BatchHalved, EventWriter, Saved
from retrain.trainer.memory import with_one_halving
from retrain.trainer.model import Device, vocabulary_size
from retrain.trainer.reward.jobs import AnswerRow, ScoreJob
from retrain.trainer.reward.likelihood import figures_of
from retrain.trainer.reward.model import RewardModel, load_reward_model, padded
from retrain.trainer.reward.record import RewardRecord, check_digest, check_probes, probe_rows
from retrain.trainer.reward.votes import AnswerIds


def score_answers(job: ScoreJob, events: EventWriter, scratch: Path) -> None:
    """Score the job's rows and write the scores to `job.output`, which is not created on failure.

    Raises:
        JudgeMismatchError: The base model is another one, or the loaded model does not score its
            probes as it did when it was trained.
        TrainerError: Another known reason.

    """
    started = time.monotonic()
    record = read_record(job.model)
    check_digest(record, job.base_digest)
    use_threads(job.threads)
    hyper = record.hyper.model_copy(update={"per_device_batch": job.per_device_batch})
    device = Device(cuda=bool(torch.cuda.is_available()), bf16=record.precision == "bf16")
    rows = _read_rows(job.rows)

    def attempt(hyper: HyperParameters) -> list[float]:
        model = load_reward_model(job.model, job.base_model, hyper, device)
        check_probes(record, score_probes(model, job.base_model, record.hyper))
        return score_rows(model, rows, hyper.per_device_batch)

    scores = with_one_halving(attempt, hyper, report_halving(events))
    digest = _publish_scores(scores, scratch / "scores", job.output)
    seconds = time.monotonic() - started
    events.write(Saved(folder=str(job.output), sha256=digest, seconds=seconds))


def score_rows(model: RewardModel, answers: Sequence[AnswerIds], batch: int) -> list[float]:
    """Return the score of each answer, in order. Answers of similar length share a batch."""
    figures = figures_of(model.backbone, answers, batch)
    answers = [replace(one, figures=own) for one, own in zip(answers, figures, strict=True)]
    order = sorted(range(len(answers)), key=lambda index: len(answers[index].ids))
    scores = [0.0] * len(answers)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        inputs = padded([answers[index] for index in chosen])
        with torch.no_grad():
            found = model(**{name: value.to(model.device) for name, value in inputs.items()})
        for index, score in zip(chosen, found.tolist(), strict=True):
            scores[index] = score
    return scores


def read_record(folder: Path) -> RewardRecord:
    """Read the record of a reward model. Raises `JobError`."""
    try:
        return RewardRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError) as error:
        raise JobError(f"model: {folder} holds no complete reward model") from error


def score_probes(model: RewardModel, base_model: str, hyper: HyperParameters) -> list[float]:
    """Return the scores by which a stored model is recognised. Raises `JobError`."""
    rows = probe_rows(vocabulary_size(base_model))
    answers = [AnswerIds(prompt + answer, len(prompt)) for prompt, answer in rows]
    return score_rows(model, answers, hyper.per_device_batch)


def _read_rows(path: Path) -> list[AnswerIds]:
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = AnswerRow.model_validate_json(line)
            except ValidationError:  # not chained: it may quote ids
                raise JobError(f"rows: line {number} is not an answer") from None
            rows.append(AnswerIds(row.prompt_token_ids + row.token_ids, len(row.prompt_token_ids)))
    return rows


def _publish_scores(scores: Sequence[float], draft: Path, output: Path) -> str:
    """Write the scores, one a line, and rename the file to `output`; return its SHA-256 in hex."""
    content = "".join(f"{json.dumps(score)}\n" for score in scores).encode()
    draft.write_bytes(content)
    sync(draft)
    draft.rename(output)
    sync(output.parent)
    return sha256(content).hexdigest()


def use_threads(threads: int | None) -> None:
    """Limit PyTorch's CPU threads, if a number is given."""
    if threads:
        torch.set_num_threads(threads)


def report_halving(events: EventWriter) -> Callable[[HyperParameters], None]:
    """Return a function that reports a halved batch."""

    def on_halved(hyper: HyperParameters) -> None:
        events.write(
            BatchHalved(
                per_device_batch=hyper.per_device_batch,
                gradient_accumulation=hyper.gradient_accumulation,
            )
        )

    return on_halved
