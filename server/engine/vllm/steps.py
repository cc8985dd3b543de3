"""Counts an engine's steps. Imports no engine: vLLM takes it for one of its loggers by shape."""

from typing import Protocol


class SchedulerStats(Protocol):
    """What a step's message says of the scheduler."""

    num_running_reqs: int


class StepCounter:
    """Rises with each step in which a request ran: in a long prefill too, which gives no token.

    vLLM's EngineCore sends a message a step, and `record` is called for each. A step in which
    nothing ran, though requests wait, does not count.
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
        """Take a message; `iteration_stats` is there when it brought tokens."""
        del mm_cache_stats, engine_idx
        ran = scheduler_stats is not None and scheduler_stats.num_running_reqs > 0
        if ran or iteration_stats is not None:
            self.steps += 1

    def log(self) -> None:
        """Say nothing: vLLM asks every few seconds."""

    def log_engine_initialized(self) -> None:
        """Say nothing."""
