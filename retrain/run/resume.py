"""Find the step from which a run resumes: the current one, or an earlier one with missing results.

Any server may resume an interrupted run. Results of steps are in the `data_dir` of the server that
executed them, and may be lost with it; such steps are repeated.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from retrain.counterparts.storage import MANIFEST as COUNTERPARTS_MANIFEST
from retrain.dataset.snapshot import MANIFEST
from retrain.evaluation.storage import has_evaluation
from retrain.judging.storage import JUDGE, has_record
from retrain.run.candidates import is_complete, registered
from retrain.run.context import ADAPTER, COUNTERPARTS, RunContext
from retrain.run.steps import STEPS

_log = structlog.get_logger()


NEEDS: Mapping[str, tuple[str, ...]] = {
    "judge": ("snapshot",),
    "counterparts": ("snapshot", "judge"),
    "train": ("snapshot", "counterparts"),
    "vet": ("train",),
    "evaluate": ("snapshot", "judge", "vet"),
    "decide": ("snapshot", "evaluate"),
    "roll out": ("vet",),
}
"""The steps whose results a step needs, unless it is done."""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Which results of a run are available on this machine."""

    snapshot: bool
    counterparts: bool
    adapter: bool
    candidate: bool
    evaluation: bool
    verdict: bool
    judge: bool = True
    """True as well where the run trains no judge."""


def latest_possible_step(step: str, kept: ResumePoint) -> str:
    """Return the latest step, at most `step`, whose inputs are all available."""
    order = list(STEPS)
    while missing := _producers_missing(step, kept):
        step = min(missing, key=order.index)
    return step


def _producers_missing(step: str, kept: ResumePoint) -> list[str]:
    """Return the steps, all before `step`, whose results `step` needs and that are missing."""
    makers = {
        "snapshot": kept.snapshot,
        "judge": kept.judge,
        "counterparts": kept.counterparts,
        "train": kept.adapter,
        "vet": kept.candidate,
        "evaluate": kept.evaluation,
    }
    return [maker for maker in _needs(step, kept) if not makers[maker]]


def _needs(step: str, kept: ResumePoint) -> tuple[str, ...]:
    """Return the steps whose results `step` reads; none if it has nothing left to do."""
    done = {
        **dict.fromkeys(("counterparts", "train", "vet"), kept.candidate),
        "decide": kept.verdict,
    }
    return () if done.get(step) else NEEDS.get(step, ())


async def resume_step(context: RunContext) -> str:
    """Return the step to resume from, and store it in the run's row. Raises `LeaseLostError`.

    A candidate whose files are lost is dropped, together with its verdict.
    """
    run = context.run
    version = await registered(context)
    candidate = version is not None and await is_complete(context, version)
    files = await asyncio.to_thread(_files, context.folder)
    kept = ResumePoint(
        **files,
        candidate=candidate,
        verdict=run.verdict is not None,
        judge=context.environment.config.judge != "people"
        or await asyncio.to_thread(has_record, context.folder / JUDGE),
    )
    step = latest_possible_step(run.step, kept)
    name = version.name if version is not None and candidate else None
    if (step, name) != (run.step, run.version):
        _log.warning("run_goes_back", run=run.id, step=run.step, to=step)
        verdict = run.verdict if candidate else None
        await context.save(step=step, version=name, verdict=verdict)
    return step


def _files(folder: Path) -> dict[str, bool]:
    """Return whether the snapshot, the counterparts, the adapter and the evaluation exist.

    All are created atomically. An evaluation of the previous release has no tool calls and does not
    count.
    """
    return {
        "snapshot": (folder / "snapshot" / MANIFEST).is_file(),
        "counterparts": (folder / COUNTERPARTS / COUNTERPARTS_MANIFEST).is_file(),
        "adapter": (folder / ADAPTER).is_dir(),
        "evaluation": has_evaluation(folder),
    }
