"""Counts an engine's steps.

Imports no vLLM: the counter has the methods of `vllm.v1.metrics.loggers.StatLoggerBase`.
"""

from typing import Protocol


class SchedulerStats(Protocol):
    """The scheduler's statistics in a step's message."""

    num_running_reqs: int


class StepCounter:
    """Counts the steps in which a request ran, including those of a prefill, which give no token.

    vLLM's EngineCore sends a message for each step, and vLLM calls `record` for each message. A
    step in which requests waited but none ran does not count.
    """

    def __init__(self) -> None:
        self.steps = 0

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: object,
        mm_cache_stats: object = None,
        engine_idx: int = 0,
    ) -> None:
        """Process a message; `iteration_stats` is None if it brought no tokens."""
        del mm_cache_stats, engine_idx
        ran = scheduler_stats is not None and scheduler_stats.num_running_reqs > 0
        if ran or iteration_stats is not None:
            self.steps += 1

    def log(self) -> None:
        """Do nothing; vLLM calls this every few seconds."""

    def log_engine_initialized(self) -> None:
        """Do nothing."""
