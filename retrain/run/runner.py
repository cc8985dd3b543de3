"""One run in the hands of its owner: its steps in order, under a lease, to its end."""

import asyncio
import os
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from time import monotonic
from traceback import extract_tb
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters.errors import AdaptersError
from retrain.errors import LeaseLostError, RetrainError
from retrain.evaluation.assertions import SuiteError
from retrain.evaluation.judges import JudgeError
from retrain.evaluation.result import EvaluationError
from retrain.ports import ChatError
from retrain.run.candidates import refuse_candidates
from retrain.run.context import Ending, RunContext
from retrain.run.leases import BEATS
from retrain.run.report_files import write_report
from retrain.run.resume import go_on_from
from retrain.run.steps import ROLL_OUT, STEPS

_log = structlog.get_logger()

TOLD = (RetrainError, AdaptersError, ChatError, JudgeError, EvaluationError, SuiteError)
"""Errors whose messages are ours: they say what to do and quote nobody.

Of all others only the class is kept.
"""

SUCCEEDED = ("promoted", "rolling_out", "rejected", "skipped")
WITH_CANDIDATE = ("promoted", "rolling_out", "rejected")
"""Endings that say what becomes of the candidate."""


class Stop(StrEnum):
    """Why a run is stopped from outside."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    CLOSING = "closing"


class _StoppedError(Exception):
    def __init__(self, why: Stop) -> None:
        self.why = why


class Runner:
    """Takes one run through its steps. A run whose lease is lost is not touched any more."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[Stop] = self._loop.create_future()
        self._lease_ends: asyncio.TimerHandle | None = None

    def stop(self, why: Stop) -> None:
        """Stop before the next step, or within this one; rolling out is finished first."""
        if not self._stopped.done():
            self._stopped.set_result(why)

    async def run(self) -> None:
        """Go on from the step that was under way, to the run's end or until it is stopped."""
        heart = asyncio.create_task(self._beat())
        try:
            await self._to_the_end()
        except LeaseLostError:
            _log.warning("run_taken_over", run=self._context.run.id)
        except (SQLAlchemyError, OSError) as error:  # the database or the disk is away
            # The row stays `running`; whoever finds its lease expired goes on with it.
            _log.error("run_interrupted", run=self._context.run.id, error=type(error).__name__)
        finally:
            heart.cancel()
            self._keep_until(None)
            with suppress(asyncio.CancelledError):
                await heart

    async def _to_the_end(self) -> None:
        context = self._context
        try:
            ending = await self._steps()
        except (LeaseLostError, SQLAlchemyError):
            raise
        except _StoppedError as stopped:
            if stopped.why is not Stop.CANCELLED:
                await self._let_go(stopped.why)
                return
            ending = Ending("cancelled", f"cancelled during the step {context.run.step}")
        except Exception as error:  # noqa: BLE001 - whatever it was: no result, no promotion
            cause = first_cause(error)
            _log.warning(
                "run_failed", run=context.run.id, error=type(cause).__name__, at=place(cause)
            )
            ending = Ending("failed", explained(cause))
        await self._finish(ending)

    async def _steps(self) -> Ending:
        context = self._context
        names = list(STEPS)
        await self._check_stopped()
        for name in names[names.index(await go_on_from(context)) :]:
            await self._check_stopped()
            await context.save(step=name)
            context.world.observer.run_state(context.run.channel, "running", name)
            _log.info("run_step", run=context.run.id, step=name)
            began = monotonic()
            ending = await self._step(name)
            seconds = {**context.run.figures.get("seconds", {}), name: monotonic() - began}
            await context.note(seconds=seconds)
            if ending is not None:
                return ending
        raise AssertionError("the last step always ends the run")

    async def _check_stopped(self) -> None:
        """Raise where the run is to stop; one that had begun to roll out is finished instead."""
        await self._look_for_cancel()
        if self._stopped.done() and self._context.run.step != ROLL_OUT:
            raise _StoppedError(self._stopped.result())

    async def _look_for_cancel(self) -> None:
        """Another process may have left word, even while nobody held the run."""
        if (await self._context.world.runs.get(self._context.run.id)).cancel_requested:
            self.stop(Stop.CANCELLED)

    async def _step(self, name: str) -> Ending | None:
        task = asyncio.ensure_future(STEPS[name](self._context))
        watched: set[asyncio.Future[Any]] = {task}
        if name != ROLL_OUT:
            watched.add(self._stopped)
        try:
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise _StoppedError(self._stopped.result())
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _finish(self, ending: Ending) -> None:
        context, world = self._context, self._context.world
        if ending.state not in WITH_CANDIDATE:
            await refuse_candidates(context, ending.reason)
        now = world.clock()
        await asyncio.to_thread(write_report, context, ending, now)
        await context.save(
            state=ending.state, reason=ending.reason, finished_at=now, lease_until=None, owner=None
        )
        world.observer.run_state(context.run.channel, ending.state, None)
        if ending.state in SUCCEEDED:
            world.observer.run_succeeded(context.run.channel, now)
        _log.info("run_ended", run=context.run.id, state=ending.state)

    async def _let_go(self, why: Stop) -> None:
        """Leave the run as it is; at shutdown, for the next process to take at once."""
        if why is Stop.CLOSING:
            await self._context.save(lease_until=self._context.world.clock(), owner=None)
        _log.info("run_left", run=self._context.run.id, why=why)

    async def _beat(self) -> None:
        """Renew the lease, and look for word that the run should stop.

        To the run's very end: one that is stopped still ends its trainer, or what it rolls out.
        """
        context, world = self._context, self._context.world
        seconds = world.config.lease_seconds
        self._keep_until(self._loop.time() + seconds)
        while True:
            await asyncio.sleep(seconds / BEATS)
            try:
                asked = self._loop.time()
                await world.runs.renew(context.lease, world.clock(), seconds)
                self._keep_until(asked + seconds)
                await self._look_for_cancel()
            except LeaseLostError:
                self.stop(Stop.LEASE_LOST)
            except SQLAlchemyError as error:
                _log.warning("heartbeat_failed", run=context.run.id, error=type(error).__name__)

    def _keep_until(self, moment: float | None) -> None:
        """Stop at `moment` if the lease is not renewed by then: others may take the run.

        Whether the database refuses or hangs. Where there are no others, the run goes on.
        """
        if self._lease_ends is not None:
            self._lease_ends.cancel()
        if moment is not None and not self._context.world.alone:
            self._lease_ends = self._loop.call_at(moment, self.stop, Stop.LEASE_LOST)


def explained(error: BaseException) -> str:
    """An error in one line that quotes nobody: our own messages, else the class alone."""
    name = type(error).__name__
    if isinstance(error, TOLD):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: {os.strerror(error.errno)}; look at the disk, then start the run again"
    return f"{name}: unexpected; look at the server's log"


def first_cause(error: BaseException) -> BaseException:
    """The first error of a task group's, at whatever depth; any other as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def place(error: BaseException) -> str:
    """Where an error was raised, as `file.py:line`: all that a log may say of an unknown one."""
    frames = extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
