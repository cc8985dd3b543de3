"""Run one trainer process to its end, and store its events."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from retrain.ports import Launcher, TrainerProcess
from retrain.trainer.events import Event, Failed, parse_event

EVENTS = "events.jsonl"


async def run_trainer(launcher: Launcher, job_path: Path) -> tuple[Failed | None, int]:
    """Start a trainer, wait for its end, and return its failure, if any, and its exit code.

    Its events are appended to `events.jsonl` next to the job file. The trainer is terminated if the
    caller is cancelled.
    """
    process = await launcher.launch(job_path)
    try:
        failure = await _listen(process, job_path.with_name(EVENTS))
        return failure, await process.wait()
    finally:
        await process.terminate()


def stored_events(folder: Path) -> Iterator[Event]:
    """Yield the stored events; a line that was cut off by a crash is skipped."""
    with (folder / EVENTS).open("rb") as lines:
        for line in lines:
            with suppress(ValidationError):
                yield parse_event(line)


async def _listen(process: TrainerProcess, path: Path) -> Failed | None:
    failure = None
    with path.open("ab") as kept:
        async for event in process.events():
            kept.write(event.model_dump_json().encode() + b"\n")
            kept.flush()
            if isinstance(event, Failed):
                failure = event
    return failure
