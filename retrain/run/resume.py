"""Which step a run goes on from: the one under way, or an earlier one whose outcome is not here.

A run is taken up by whichever server finds it left. What its steps wrote lies in that server's
`data_dir`, and may be gone with the machine that died; such steps are done again.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from retrain.dataset.snapshot import MANIFEST
from retrain.evaluation.storage import has_evaluation
from retrain.run.candidates import is_complete, registered
from retrain.run.context import ADAPTER, RunContext
from retrain.run.steps import STEPS

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """What of a run can be had on this machine: files, a version, and the row's verdict."""

    snapshot: bool
    adapter: bool
    candidate: bool
    evaluation: bool
    verdict: bool


def step_to_do(step: str, kept: ResumePoint) -> str:
    """The latest step, `step` at most, whose inputs are all there."""
    order = list(STEPS)
    while missing := _producers_missing(step, kept):
        step = min(missing, key=order.index)
    return step


def _producers_missing(step: str, kept: ResumePoint) -> list[str]:
    """The steps that make what `step` needs and what is not there; each is earlier than `step`."""
    makers = {
        "snapshot": kept.snapshot,
        "train": kept.adapter,
        "vet": kept.candidate,
        "evaluate": kept.evaluation,
    }
    return [maker for maker in _needs(step, kept) if not makers[maker]]


def _needs(step: str, kept: ResumePoint) -> tuple[str, ...]:
    match step:
        case "train":
            return () if kept.candidate else ("snapshot",)
        case "vet":
            return () if kept.candidate else ("train",)
        case "evaluate":
            return ("snapshot", "vet")
        case "decide":
            return () if kept.verdict else ("snapshot", "evaluate")
        case "roll out":
            return ("vet",)
        case _:
            return ()


async def go_on_from(context: RunContext) -> str:
    """The step to do now; the run's row says so too. Raises `LeaseLostError`.

    A candidate whose files are lost is given up with all that was found out about it.
    """
    run = context.run
    version = await registered(context)
    candidate = version is not None and await is_complete(context, version)
    files = await asyncio.to_thread(_files, context.folder)
    kept = ResumePoint(*files[:2], candidate, files[2], verdict=run.verdict is not None)
    step = step_to_do(run.step, kept)
    name = version.name if version is not None and candidate else None
    if (step, name) != (run.step, run.version):
        _log.warning("run_goes_back", run=run.id, step=run.step, to=step)
        verdict = run.verdict if candidate else None
        await context.save(step=step, version=name, verdict=verdict)
    return step


def _files(folder: Path) -> tuple[bool, bool, bool]:
    """Whether snapshot, trained adapter and evaluation are there: each appears whole.

    An evaluation that the release before left holds no tool calls, and is none.
    """
    snapshot = (folder / "snapshot" / MANIFEST).is_file()
    return snapshot, (folder / ADAPTER).is_dir(), has_evaluation(folder)
