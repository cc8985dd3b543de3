"""`python -m retrain.trainer job.json`: train an adapter or a reward model, or score answers.

Exit codes: 0 success, 1 unexpected error, 2 invalid job, 3 NaN or infinity, 4 out of memory,
5 the reference differs from the initial policy, 6 too few pairs, 7 a reward model does not score as
it did, 128 + n terminated by signal n.
"""

import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from retrain.trainer.errors import JobError, TrainerError
from retrain.trainer.events import EventWriter, Failed, open_events
from retrain.trainer.job_file import AnyJob, read_job_file
from retrain.trainer.keeper import keep_group
from retrain.trainer.process import claim_stdout, die_with_parent, on_termination, set_environment
from retrain.trainer.reward.jobs import RewardJob, ScoreJob
from retrain.trainer.scratch import fresh_scratch, scratch_for


def main(arguments: Sequence[str]) -> int:
    """Run the job file named by the only argument; returns the exit code."""
    stdout = claim_stdout()
    events = EventWriter(stdout, _now)
    try:
        job = read_job_file(_job_file(arguments))
        if job.events is not None:
            events = EventWriter(open_events(job.events), _now)
        _run(job, events)
    except TrainerError as error:
        return _fail(events, error, str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001 - top level: report the error, then exit
        message = "unexpected; the trainer's standard error has the traceback"
        return _fail(events, error, message, 1)
    return 0


def _job_file(arguments: Sequence[str]) -> Path:
    if len(arguments) != 1:
        raise JobError("usage: python -m retrain.trainer job.json")
    return Path(arguments[0])


def _run(job: AnyJob, events: EventWriter) -> None:
    """Run the job; clean up on signals, and die if the server dies."""
    scratch = scratch_for(job.output)

    def finish(code: int) -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        message = "ended by a signal; nothing was saved"
        events.write(Failed(reason="Terminated", message=message, exit_code=code))

    if job.parent_pid is not None:
        keep_group(job.parent_pid)
    on_termination(finish)
    if job.parent_pid is not None:
        die_with_parent(job.parent_pid)
    try:
        set_environment(job.base_model, fresh_scratch(job.output), os.environ)
        _perform(job, events, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _perform(job: AnyJob, events: EventWriter, scratch: Path) -> None:
    """Do the work; imports torch, which needs the environment."""
    if isinstance(job, RewardJob):
        from retrain.trainer.reward.run import train_reward  # noqa: PLC0415

        train_reward(job, events, scratch)
    elif isinstance(job, ScoreJob):
        from retrain.trainer.reward.scoring import score_answers  # noqa: PLC0415

        score_answers(job, events, scratch)
    else:
        from retrain.trainer.run import run  # noqa: PLC0415

        run(job, events, scratch)


def _fail(events: EventWriter, error: Exception, message: str, code: int) -> int:
    """Report a failure; the traceback goes to standard error."""
    traceback.print_exception(error, file=sys.stderr)
    events.write(Failed(reason=type(error).__name__, message=message, exit_code=code))
    return code


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
