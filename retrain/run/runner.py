"""Execute one run: its steps in order, under a lease that is renewed meanwhile."""

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
from retrain.run.resume import resume_step
from retrain.run.steps import ROLL_OUT, STEPS

_log = structlog.get_logger()

KNOWN_ERRORS = (RetrainError, AdaptersError, ChatError, JudgeError, EvaluationError, SuiteError)
"""Errors whose messages say what to do and contain no user text.

Of all other errors only the class is stored.
"""

SUCCEEDED = ("promoted", "rolling_out", "rejected", "skipped")
WITH_CANDIDATE = ("promoted", "rolling_out", "rejected")
"""Final states in which the candidate has been dealt with; otherwise it is rejected."""


class Stop(StrEnum):
    """Why a run is stopped from outside."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    CLOSING = "closing"


class _StoppedError(Exception):
    def __init__(self, why: Stop) -> None:
        self.why = why


class Runner:
    """Executes the steps of one run. A run whose lease is lost is not written to any more."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[Stop] = self._loop.create_future()
        self._lease_ends: asyncio.TimerHandle | None = None

    def stop(self, why: Stop) -> None:
        """Stop the run before or during a step; the step `roll out` is completed first."""
        if not self._stopped.done():
            self._stopped.set_result(why)

    async def run(self) -> None:
        """Execute the run from the step to resume, until it ends or is stopped."""
        heart = asyncio.create_task(self._beat())
        try:
            await self._to_the_end()
        except LeaseLostError:
            _log.warning("run_taken_over", run=self._context.run.id)
        except (SQLAlchemyError, OSError) as error:  # the database or the disk has failed
            # The row stays `running`; the server that finds its lease expired resumes it.
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
                await self._release(stopped.why)
                return
            ending = Ending("cancelled", f"cancelled during the step {context.run.step}")
        except Exception as error:  # noqa: BLE001 - any error ends the run without a promotion
            cause = first_cause(error)
            _log.warning(
                "run_failed", run=context.run.id, error=type(cause).__name__, at=location(cause)
            )
            ending = Ending("failed", explanation(cause))
        await self._finish(ending)

    async def _steps(self) -> Ending:
        context = self._context
        names = list(STEPS)
        await self._check_stopped()
        for name in names[names.index(await resume_step(context)) :]:
            await self._check_stopped()
            await context.save(step=name)
            context.environment.observer.run_state(context.run.channel, "running", name)
            _log.info("run_step", run=context.run.id, step=name)
            began = monotonic()
            ending = await self._step(name)
            seconds = {**context.run.figures.get("seconds", {}), name: monotonic() - began}
            await context.save_figures(seconds=seconds)
            if ending is not None:
                return ending
        raise AssertionError("the last step always ends the run")

    async def _check_stopped(self) -> None:
        """Raise `_StoppedError` if the run is to stop, unless it is rolling out."""
        await self._check_cancelled()
        if self._stopped.done() and self._context.run.step != ROLL_OUT:
            raise _StoppedError(self._stopped.result())

    async def _check_cancelled(self) -> None:
        """Stop if a cancellation was requested, possibly by another process."""
        if (await self._context.environment.runs.get(self._context.run.id)).cancel_requested:
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
        context, environment = self._context, self._context.environment
        if ending.state not in WITH_CANDIDATE:
            await refuse_candidates(context, ending.reason)
        now = environment.clock()
        await asyncio.to_thread(write_report, context, ending, now)
        await context.save(
            state=ending.state, reason=ending.reason, finished_at=now, lease_until=None, owner=None
        )
        environment.observer.run_state(context.run.channel, ending.state, None)
        if ending.state in SUCCEEDED:
            environment.observer.run_succeeded(context.run.channel, now)
        _log.info("run_ended", run=context.run.id, state=ending.state)

    async def _release(self, why: Stop) -> None:
        """Leave the run unfinished; at shutdown, release its lease so it is resumed at once."""
        if why is Stop.CLOSING:
            await self._context.save(lease_until=self._context.environment.clock(), owner=None)
        _log.info("run_left", run=self._context.run.id, why=why)

    async def _beat(self) -> None:
        """Renew the lease, and check for a requested cancellation, until the run has ended.

        Goes on after a stop, since a stopped run still has to end its trainer or its roll-out.
        """
        context, environment = self._context, self._context.environment
        seconds = environment.config.lease_seconds
        self._keep_until(self._loop.time() + seconds)
        while True:
            await asyncio.sleep(seconds / BEATS)
            try:
                asked = self._loop.time()
                await environment.runs.renew(context.lease, environment.clock(), seconds)
                self._keep_until(asked + seconds)
                await self._check_cancelled()
            except LeaseLostError:
                self.stop(Stop.LEASE_LOST)
            except SQLAlchemyError as error:
                _log.warning("heartbeat_failed", run=context.run.id, error=type(error).__name__)

    def _keep_until(self, moment: float | None) -> None:
        """Stop at `moment` (event loop's clock) unless the lease is renewed by then.

        From then on another server may take over the run, whether the database refuses or hangs.
        With a single server the run continues.
        """
        if self._lease_ends is not None:
            self._lease_ends.cancel()
        if moment is not None and not self._context.environment.alone:
            self._lease_ends = self._loop.call_at(moment, self.stop, Stop.LEASE_LOST)


def explanation(error: BaseException) -> str:
    """Return an error in one line without user text: a known error's message, else its class."""
    name = type(error).__name__
    if isinstance(error, KNOWN_ERRORS):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: {os.strerror(error.errno)}; check the disk, then start the run again"
    return f"{name}: unexpected; see the server's log"


def first_cause(error: BaseException) -> BaseException:
    """Return the first error in (nested) exception groups; any other error as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def location(error: BaseException) -> str:
    """Return where an error was raised, as `file.py:line`; its message may contain user text."""
    frames = extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
