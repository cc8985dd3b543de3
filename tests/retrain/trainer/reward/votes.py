"""Votes of people who like polite answers, and jobs that train and use a reward model on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retrain.trainer.events import Event, EventWriter
from retrain.trainer.job_file import read_job_file
from retrain.trainer.reward.jobs import RewardJob, ScoreJob
from retrain.trainer.scratch import fresh_scratch
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import QUICK, pair, read_events

reward_run = lazy("retrain.trainer.reward.run")
scoring = lazy("retrain.trainer.reward.scoring")

DIGEST = "d" * 64


def label(number: int, *, good: bool, **fields: Any) -> dict[str, Any]:
    """A thumb: up for the polite answer of `tiny.pair`, down for the rude one."""
    made = pair(number)
    return {
        "id": f"label-{number}-{good}",
        "interaction_id": f"chatcmpl-{number}",
        "choice": 0,
        "prompt_token_ids": made["prompt_token_ids"],
        "completion": made["chosen" if good else "rejected"],
        "label": good,
        "signal": "thumbs",
        **fields,
    }


def answers(numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The polite and the rude answer of each pair, as rows to score."""
    return [
        {"prompt_token_ids": made["prompt_token_ids"], "token_ids": made[side]["token_ids"]}
        for made in map(pair, numbers)
        for side in ("chosen", "rejected")
    ]


def write_reward_job(
    folder: Path,
    base: Path,
    *,
    pairs: list[dict[str, Any]] | None = None,
    labels: list[dict[str, Any]] | None = None,
    hyper: dict[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """Write a job with eight comparisons and eight labels by default; return its path."""
    folder.mkdir(exist_ok=True)
    _write_lines(folder / "pairs.jsonl", [pair(n) for n in range(8)] if pairs is None else pairs)
    thumbs = [label(n, good=bool(n % 2)) for n in range(8, 16)] if labels is None else labels
    _write_lines(folder / "labels.jsonl", thumbs)
    job = {
        "kind": "reward",
        "base_model": str(base),
        "base_digest": DIGEST,
        "pairs": "pairs.jsonl",
        "labels": "labels.jsonl",
        "output": "model",
        "head_learning_rate": 0.01,
        "hyper": QUICK | {"epochs": 4.0} | (hyper or {}),
        **fields,
    }
    return _write_job(folder / "job.json", job)


def write_score_job(folder: Path, base: Path, rows: list[dict[str, Any]], **fields: Any) -> Path:
    """Write a job that scores rows with the model in `folder`; return its path."""
    _write_lines(folder / "rows.jsonl", rows)
    job = {
        "kind": "score",
        "base_model": str(base),
        "base_digest": DIGEST,
        "model": "model",
        "rows": "rows.jsonl",
        "output": "scores.jsonl",
        **fields,
    }
    return _write_job(folder / "score.json", job)


def train(folder: Path, base: Path, **fields: Any) -> list[Event]:
    """Train in this process; the events of a run that raises are in `folder`, too."""
    job = read_job_file(write_reward_job(folder, base, **fields))
    assert isinstance(job, RewardJob)
    with (folder / "events.jsonl").open("wb") as file:
        reward_run.train_reward(job, _writer(file.fileno()), fresh_scratch(job.output))
    return read_events(folder)


def score(folder: Path, base: Path, rows: list[dict[str, Any]], **fields: Any) -> list[float]:
    """Score in this process with the model in `folder`."""
    (folder / "scores.jsonl").unlink(missing_ok=True)
    job = read_job_file(write_score_job(folder, base, rows, **fields))
    assert isinstance(job, ScoreJob)
    with (folder / "events.jsonl").open("wb") as file:
        scoring.score_answers(job, _writer(file.fileno()), fresh_scratch(job.output))
    return [float(line) for line in job.output.read_text().splitlines()]


def _writer(descriptor: int) -> EventWriter:
    return EventWriter(descriptor, lambda: datetime(2026, 11, 16, tzinfo=UTC))


def _write_job(path: Path, job: dict[str, Any]) -> Path:
    path.write_text(json.dumps(job))
    return path


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
