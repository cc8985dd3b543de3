"""What the weekly run asks of the rest of the house; `server` provides it."""

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
"""Gives the time now, aware, in UTC."""


class ChatError(Exception):
    """A request of ours was not answered. The message names the cause, never anybody's text."""


class ChatUnavailableError(ChatError):
    """The chat endpoint could not be reached, was busy, or broke off: asking again may help."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer to one request.

    `finish_reason` is OpenAI's (`stop`, `length`, `tool_calls`); `completion_tokens` counts the
    sampled tokens. `text` is empty where the answer only calls tools, or refuses.
    """

    text: str
    finish_reason: str | None
    interaction_id: str
    completion_tokens: int
    calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None

    @property
    def parts(self) -> AnswerParts:
        """What the answer says and calls."""
        return AnswerParts(self.text, self.calls, self.refusal)


class Chat(Protocol):
    """The chat endpoint, as the weekly run's own marked traffic reaches it (mode `evaluation`)."""

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        """Let a pinned version answer one request.

        Args:
            model: An explicit version, such as `pawl@2026-w47-3f9c1a` or `pawl@base`.
            request: The body of a chat completion, without `model` and not streamed.

        Raises:
            ChatUnavailableError: The endpoint did not answer; the caller may try again.
            ChatError: The endpoint refused the request; trying again is no use.

        """
        ...


class TrainerProcess(Protocol):
    """A trainer that was started."""

    def events(self) -> AsyncIterator[Event]:
        """What it says, until it closes its output. Anything that is no event is passed over."""
        ...

    async def wait(self) -> int:
        """Its exit code, negative where a signal ended it."""
        ...

    async def terminate(self) -> None:
        """Tell it to stop, wait, and kill what is left. Safe to call on one that has ended."""
        ...


class Launcher(Protocol):
    """Starts trainers: as a subprocess here, elsewhere as a job on a cluster."""

    @property
    def parent_pid(self) -> int | None:
        """The process that the trainer must die with; None where it is not below that."""
        ...

    async def launch(self, job_path: Path) -> TrainerProcess:
        """Start the trainer on a job file; its standard error goes into the job's folder.

        Raises `TrainingError` where it cannot be started.
        """
        ...

    async def kill_leftover(self, job_path: Path) -> None:
        """Kill the trainer that an earlier process of ours left behind on this job, if it runs."""
        ...


class SwapResult(Protocol):
    """What a promotion returns (`adapters.service.Swap`)."""

    @property
    def seconds(self) -> float:
        """From the start of the load to the active route."""
        ...


class AdapterRegistry(Protocol):
    """The registry as the weekly run needs it (`adapters.service.Registry`).

    A guard is asked in the transaction that makes the change; what it raises is raised. A change
    with an `epoch` is made only while the route has that one, else `StaleRouteError`.
    """

    def routes(self) -> Mapping[str, RouteView]:
        """Who answers, by channel."""
        ...

    async def route_now(self, channel: str) -> RouteView:
        """Who answers, as the database has it: another server may have changed it just now."""
        ...

    async def versions(self, channel: str) -> Sequence[Version]:
        """The channel's versions in any state."""
        ...

    async def lineage(self, version: str) -> list[str]:
        """The version and all its ancestors, `base` left out."""
        ...

    async def version(self, version: str) -> Version:
        """One version."""
        ...

    async def add(  # noqa: PLR0913  (what is said of an adapter that comes in)
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
        """Vet and publish an adapter; registers it as a candidate."""
        ...

    async def load(self, version: str) -> None:
        """Make it answerable by name."""
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
        """Make it live; so many of the users stay on the version before."""
        ...

    async def set_shadow(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Have it answer so many of its channel's requests unseen."""
        ...

    async def set_canary(
        self, version: str, share: float, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Have it answer so many of its channel's users."""
        ...

    async def end_trial(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> RouteView:
        """Let live answer everybody again."""
        ...

    async def rollback(
        self, channel: str, *, actor: str, reason: str, epoch: int | None = None
    ) -> object:
        """Undo the last promotion."""
        ...

    async def reject(self, version: str, *, actor: str, reason: str, guard: Guard = ...) -> object:
        """Refuse a candidate and unload it."""
        ...

    async def set_figures(
        self, version: str, figures: dict[str, Any], *, guard: Guard = ...
    ) -> object:
        """What a list of versions shows."""
        ...


class RunObserver:
    """Told what runs do, for metrics. No label of it ever names a user."""

    def run_state(self, channel: str, state: str, step: str | None) -> None:
        """A run began a step (state `running`) or ended."""

    def run_pairs(
        self, channel: str, by_signal: Mapping[str, int], left_out: Mapping[str, int]
    ) -> None:
        """A snapshot was frozen."""

    def gate_decided(self, channel: str, outcome: str) -> None:
        """The gate said `promote` or `reject`."""

    def run_succeeded(self, channel: str, at: datetime) -> None:
        """A run ended as it should: promoted, rolling out, rejected or skipped."""

    def rollout_moved(self, channel: str, phase: str) -> None:
        """A rollout came to a phase (`retrain.rollout.decisions.Phase`)."""

    def rollout_evidence(self, channel: str, evidence: Mapping[str, float]) -> None:
        """What users have shown in the trial under way, by name; empty where there is none."""
