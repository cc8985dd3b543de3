import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from retrain.config import HyperParameters
from retrain.trainer.events import (
    BatchHalved,
    Dropped,
    Event,
    EventWriter,
    Failed,
    LeftOut,
    Reference,
    Saved,
    Started,
    Step,
    open_events,
    parse_event,
)

NOW = datetime(2026, 11, 16, 3, tzinfo=UTC)
EVENTS: list[Event] = [
    Started(
        versions={"trl": "1"},
        device="cpu",
        precision="fp32",
        pairs=1,
        signals={"thumbs": 1},
        warm_start=False,
        hyper=HyperParameters(),
    ),
    Dropped(reasons={"too_long": 2}),
    LeftOut(stage=2, method="sft", reason="3 demonstrations, fewer than the minimum of 100"),
    Reference(max_reward=0.0, adapter="live", lora_rank=16, lora_alpha=32),
    Step(
        step=1,
        of=2,
        loss=0.7,
        reward_margin=0.0,
        reward_accuracy=0.5,
        learning_rate=1e-5,
        grad_norm=1.0,
        tokens=10,
    ),
    BatchHalved(per_device_batch=2, gradient_accumulation=16),
    Saved(folder="adapter", sha256="00", seconds=1.0),
    Failed(reason="JobError", message="say what to do", exit_code=2),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event)
def test_an_event_is_read_as_it_was_written(tmp_path: Path, event: Event) -> None:
    descriptor = open_events(tmp_path / "events.jsonl")
    EventWriter(descriptor, lambda: NOW).write(event)
    os.close(descriptor)
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert parse_event(line) == event.model_copy(update={"time": NOW})


def test_a_step_of_the_previous_release_is_one_of_dpo() -> None:
    old = (
        '{"event": "step", "step": 1, "of": 2, "loss": 0.7, "reward_margin": 0.0, '
        '"reward_accuracy": 0.5, "learning_rate": 1e-5, "grad_norm": 1.0, "tokens": 10}'
    )
    step = parse_event(old)
    assert isinstance(step, Step)
    assert (step.stage, step.method, step.kl) == (1, "dpo", None)


def test_events_are_appended(tmp_path: Path) -> None:
    for _ in range(2):
        descriptor = open_events(tmp_path / "events.jsonl")
        EventWriter(descriptor, lambda: NOW).write(EVENTS[1])
        os.close(descriptor)
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("line", ["", "{}", '{"event": "eval"}', "progress: 10%"])
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        parse_event(line)
