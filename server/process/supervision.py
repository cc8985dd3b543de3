"""Options that the supervisor passes to its child on the command line."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Supervision:
    """Options of a supervised child."""

    parent: int
    """The supervisor's pid; the child dies with it."""
    heartbeat: int
    """File descriptor of the pipe to write heartbeats to."""
    restarts: int
    """How often the child has been restarted."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the value that `option` wrote; raises `ValueError`."""
        parent, heartbeat, restarts = map(int, text.split(":"))
        return cls(parent, heartbeat, restarts)

    @property
    def option(self) -> str:
        """The command line option."""
        return f"--supervision={self.parent}:{self.heartbeat}:{self.restarts}"
