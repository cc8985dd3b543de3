"""A trainer that trains nothing, for servers with the fake engine.

`python -m bench.workloads.quick_trainer`. Like the real one, it reads a job file, dies with its
parent, reports events, and writes its adapter to a draft that it renames. The weights are random
and differ each time, so that a repeated training gives another version.
"""

import os
import secrets
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from retrain.trainer.events import EventWriter, Saved, Step
from retrain.trainer.job import Job, read_job
from retrain.trainer.keeper import keep_group
from retrain.trainer.process import claim_stdout, die_with_parent
from retrain.trainer.scratch import scratch_for
from tests.adapters.adapter_files import make_adapter

STEPS = 4
STEP_SECONDS = 0.1


def main(job_file: Path) -> None:
    """Pretend to train."""
    events = EventWriter(claim_stdout(), lambda: datetime.now(UTC))
    job = read_job(job_file)
    if job.parent_pid is not None:
        keep_group(job.parent_pid)
        die_with_parent(job.parent_pid)
    for number in range(1, STEPS + 1):
        time.sleep(STEP_SECONDS)
        events.write(_step(number))
    _save(job)
    events.write(Saved(folder=str(job.output), sha256="0" * 64, seconds=STEPS * STEP_SECONDS))


def _step(number: int) -> Step:
    return Step(
        step=number,
        of=STEPS,
        loss=1 / number,
        reward_margin=0.1 * number,
        reward_accuracy=0.5,
        learning_rate=1e-5,
        grad_norm=1.0,
        tokens=10,
    )


def _save(job: Job) -> None:
    scratch = scratch_for(job.output)
    shutil.rmtree(scratch, ignore_errors=True)
    make_adapter(scratch, secrets.randbits(32))
    for path in (*scratch.iterdir(), scratch):
        _sync(path)
    scratch.rename(job.output)
    _sync(job.output.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
