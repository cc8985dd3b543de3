"""Starts the process that tries grammars, restarts it when it ends, and sends it grammars."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, Protocol

import orjson
import structlog

from server.engine.config import StructuredOutputsConfig
from server.engine.grammars.frames import HEADER, frame

_MODULE = "server.engine.grammars.trial_process"

log = structlog.get_logger()

GrammarKind = Literal["json", "regex", "grammar", "lark", "structural_tag"]
Outcome = Literal["good", "refused", "slow", "died", "late"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """A constraint on an answer, in the form in which the engine compiles it."""

    kind: GrammarKind
    text: str

    @property
    def key(self) -> bytes:
        """A hash of the grammar, for a cache that holds no client's text."""
        return sha256(f"{self.kind}:{self.text}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a trial; `seconds` is the time spent compiling, up to a limit.

    The outcomes: `good` (compiles, and each step is in time), `refused` (not a valid grammar),
    `slow` (over a time limit of the settings), `died` (out of memory, or a crash) and `late` (the
    machine was too busy for a trial).
    """

    outcome: Outcome
    seconds: float


class Trials(Protocol):
    """Tries one grammar."""

    async def __call__(self, grammar: Grammar) -> Trial:
        """Return the result; `late` if no trial could be made."""
        ...


class TrialProcess:
    """One process that tries grammars one after the other, first come, first served."""

    def __init__(
        self, tokenizer: Callable[[], str], limits: StructuredOutputsConfig, *, compact: bool
    ) -> None:
        """Store the arguments; the process starts with `start` or the first trial.

        Args:
            tokenizer: Returns xgrammar's serialized tokenizer; called in a thread.
            limits: The time limits of a trial.
            compact: Whether the engine generates JSON without whitespace.

        """
        self._tokenizer = tokenizer
        self._limits = limits
        self._compact = compact
        self._process: Process | None = None
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Start the process, so that the first trial need not wait for it."""
        async with self._one_at_a_time:
            await self._answer(None)

    async def __call__(self, grammar: Grammar) -> Trial:
        """Try `grammar`. A process that has ended is replaced at the next trial."""
        job = {
            "kind": grammar.kind,
            "text": grammar.text,
            "compact": self._compact,
            "compile_seconds": self._limits.compile_seconds,
            "step_seconds": self._limits.step_seconds,
        }
        async with self._one_at_a_time:
            answer = await self._answer(orjson.dumps(job))
        return Trial("late", 0.0) if answer is None else Trial(**orjson.loads(answer))

    async def _answer(self, job: bytes | None) -> bytes | None:
        """Return the process's reply to `job`; None if it has ended or `job` is None."""
        try:
            process = await self._running()
            return None if job is None else await self._ask(process, job)
        except (OSError, asyncio.IncompleteReadError) as error:
            log.warning("grammar_trial_failed", error=type(error).__name__)
            self._end()
            return None
        except asyncio.CancelledError:
            self._end()  # or the next job would get the reply to this one
            raise

    async def close(self) -> None:
        """Kill the process and its running trial."""
        process = self._process
        self._end()
        if process is not None:
            await process.wait()

    async def _running(self) -> Process:
        if self._process is None:
            tokenizer = await asyncio.to_thread(self._tokenizer)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-W", "ignore", "-m", _MODULE, str(os.getpid())),
                stdin=PIPE,
                stdout=PIPE,
            )
            try:
                await self._ask(self._process, tokenizer.encode())
            except BaseException:
                self._end()
                raise
        return self._process

    @staticmethod
    async def _ask(process: Process, message: bytes) -> bytes:
        assert process.stdin is not None  # noqa: S101  (both are pipes, see above)
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(frame(message))
        await process.stdin.drain()
        (length,) = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
        return await process.stdout.readexactly(length)

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._process = None
