"""Interfaces that the weekly run needs from other packages; `server` provides them."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from adapters.models import Version
from adapters.routing.route import RouteView
from common.database import Guard
from feedback.answer_parts import AnswerParts, ToolCall
from retrain.trainer.events import Event

Clock = Callable[[], datetime]
"""Returns the current time, timezone-aware, in UTC."""


class ChatError(Exception):
    """A chat request failed. The message names the cause and contains no user text."""


class ChatUnavailableError(ChatError):
    """The chat endpoint was unreachable, overloaded or broke off; a retry may succeed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer to one request.

    `finish_reason` is OpenAI's (`stop`, `length`, `tool_calls`); `completion_tokens` is the number
    of sampled tokens. `text` is empty if the answer only calls tools or refuses.
    """

    text: str
    finish_reason: str | None
    interaction_id: str
    completion_tokens: int
    calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None

    @property
    def parts(self) -> AnswerParts:
        """The answer's text, calls and refusal."""
        return AnswerParts(self.text, self.calls, self.refusal)


class Chat(Protocol):
    """The chat endpoint for a run's own requests, which are logged apart from users' requests.

    Those of evaluations have mode `evaluation`, those of counterparts mode `counterpart`.
    """

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        """Return a given version's answer to one request.

        Args:
            model: An explicit version, such as `pawl@2026-w47-3f9c1a` or `pawl@base`.
            request: The body of a chat completion, without `model` and without streaming.

        Raises:
            ChatUnavailableError: The endpoint did not answer; the caller may retry.
            ChatError: The endpoint refused the request; a retry would fail as well.

        """
        ...


class MessageReader(Protocol):
    """Reads what a user's next message says about the answer before it."""

    async def read(
        self, conversation: Sequence[Mapping[str, Any]], answer: AnswerParts, message: str
    ) -> float:
        """Return -1 if the message rejects the answer, 1 if it accepts it, 0 if it says neither.

        Values in between express how certain the reader is.

        Args:
            conversation: The messages that were answered, in OpenAI's format.
            answer: The answer.
            message: What the user wrote next.

        Raises:
            JudgeError: There is no verdict.

        """
        ...


class TrainerProcess(Protocol):
    """A trainer that was started."""

    def events(self) -> AsyncIterator[Event]:
        """Yield its events until it closes its output. Lines that are not events are skipped."""
        ...

    async def wait(self) -> int:
        """Wait for its end; return its exit code, negative if a signal ended it."""
        ...

    async def terminate(self) -> None:
        """Ask it to stop, wait, then kill it. Does nothing if it has ended."""
        ...


class Launcher(Protocol):
    """Starts trainers, for instance as subprocesses or as jobs on a cluster."""

    @property
    def parent_pid(self) -> int | None:
        """The process with which the trainer must die; None if it is not a descendant of it."""
        ...

    async def launch(self, job_path: Path) -> TrainerProcess:
        """Start the trainer on a job file; its standard error is stored in the job's folder.

        Raises `TrainingError` if it cannot be started.
        """
        ...

    async def kill_leftover(self, job_path: Path) -> None:
        """Kill the trainer of this job that an earlier server process started, if it still runs."""
        ...


class SwapResult(Protocol):
    """The result of a promotion (`adapters.service.Swap`)."""

    @property
    def seconds(self) -> float:
        """Seconds from the start of the load to the active route."""
        ...


class AdapterRegistry(Protocol):
    """The part of the adapter registry that runs and rollouts use (`adapters.service.Registry`).

    A guard is called in the transaction of the change; its errors are raised. A change with an
    `epoch` is made only if the route has that epoch, else `StaleRouteError` is raised.
    """

    def routes(self) -> Mapping[str, RouteView]:
        """Return the cached routes by channel."""
        ...

    async def route_now(self, channel: str) -> RouteView:
        """Read the route from the database, since another server may have changed it."""
        ...

    async def versions(self, channel: str) -> Sequence[Version]:
        """Return the channel's versions in any state."""
        ...

    async def lineage(self, version: str) -> list[str]:
        """Return the version and all its ancestors, without `base`."""
        ...

    async def version(self, version: str) -> Version:
        """Return one version."""
        ...

    async def add(  # noqa: PLR0913  (all attributes of a new version)
        self,
        folder: Path,
        *,
        channel: str,
        actor: str,
        slot: str | None,
        run: str | None,
        parent: str | None,
        figures: dict[str, Any],
        guard: Guard = ...,
    ) -> Version:
        """Vet and store an adapter; register it as a candidate."""
        ...

    async def load(self, version: str) -> None:
        """Load a version into the engine, so that it can be requested by name."""
        ...

    async def promote(
        self,
        version: str,
        *,
        actor: str,
        reason: str,
        holdback_share: float = 0.0,
        epoch: int | None = None,
        guard: Guard = ...,
    ) -> SwapResult:
        """Make a version live; `holdback_share` of users stay on the previous one."""
        ...

    async def set_shadow(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Have a version answer a share of its channel's requests, without users seeing it."""
        ...

    async def set_canary(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Have a version answer a share of its channel's users."""
        ...

    async def end_trial(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Have live answer all users again."""
        ...

    async def rollback(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> object:
        """Undo the last promotion."""
        ...

    async def reject(self, version: str, *, actor: str, reason: str, guard: Guard = ...) -> object:
        """Reject a candidate and unload it."""
        ...

    async def set_figures(
        self, version: str, figures: dict[str, Any], *, guard: Guard = ...
    ) -> object:
        """Store figures that lists of versions show."""
        ...


class RunObserver:
    """Callbacks for metrics, which do nothing by default. No label may name a user."""

    def run_state(self, channel: str, state: str, step: str | None) -> None:
        """A run started a step (state `running`) or ended."""

    def run_pairs(
        self, channel: str, by_signal: Mapping[str, int], left_out: Mapping[str, int]
    ) -> None:
        """A snapshot was frozen."""

    def run_labels(self, channel: str, up: int, down: int) -> None:
        """A snapshot was frozen, with so many answers judged good and bad by themselves."""

    def run_counterparts(self, channel: str, by_origin: Mapping[str, Mapping[str, int]]) -> None:
        """Questions were asked again: their number by the origin of a pair, and by outcome."""

    def gate_decided(self, channel: str, outcome: str) -> None:
        """The offline gate decided `promote`, `canary` (its users decide alone) or `reject`."""

    def run_succeeded(self, channel: str, at: datetime) -> None:
        """A run ended without failure: promoted, rolling out, rejected or skipped."""

    def rollout_moved(self, channel: str, phase: str) -> None:
        """A rollout entered a phase (`retrain.rollout.decisions.Phase`)."""

    def wallet(self, channel: str, alpha: float) -> None:
        """So much alpha is left in the channel's budget of false promotions."""

    def rollout_evidence(self, channel: str, evidence: Mapping[str, float]) -> None:
        """E-values of the current trial by name; empty if there is none."""
