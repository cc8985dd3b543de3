"""What the supervising parent tells its child, as an option of the child's command line."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Supervision:
    """The child dies with the process `parent` and beats to the pipe `heartbeat`.

    It is the one after `restarts` others.
    """

    parent: int
    heartbeat: int
    restarts: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The supervision that `option` wrote; raises `ValueError`."""
        parent, heartbeat, restarts = map(int, text.split(":"))
        return cls(parent, heartbeat, restarts)

    @property
    def option(self) -> str:
        """The option that tells it."""
        return f"--supervision={self.parent}:{self.heartbeat}:{self.restarts}"
