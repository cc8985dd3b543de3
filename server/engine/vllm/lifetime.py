"""The life cycle of the vLLM engine: probe, kill, detect death, close."""

import asyncio
import multiprocessing
from abc import ABC, abstractmethod

from server.engine.errors import EngineDeadError
from server.engine.vllm.liveness import unless, until


class Lifetime(ABC):
    """Tracks whether an engine is alive. Its processes are children started by multiprocessing."""

    def __init__(self) -> None:
        self._killed = False
        self._closing: asyncio.Task[None] | None = None

    @abstractmethod
    def _stopped(self) -> bool:
        """Return whether its processes have died."""

    @abstractmethod
    async def _one_token(self) -> None:
        """Generate one token."""

    @abstractmethod
    async def _shut_down(self) -> None:
        """Stop its processes and wait for them to end."""

    def alive(self) -> bool:
        """Return False once the engine is known to be dead; vLLM watches its processes."""
        return self._closing is None and not self._killed and not self._stopped()

    async def wait_dead(self) -> None:
        """Return within two seconds of the death of its process; never return after `close`."""
        await until(lambda: self._stopped() and self._closing is None)

    async def probe(self) -> None:
        """Generate one token on the base model, ahead of every waiting request."""
        self._check_alive()
        await unless(self._stopped, self._one_token())

    def kill(self) -> None:
        """Kill its processes at once, even stopped ones; their descendants die with them."""
        self._killed = True
        for process in multiprocessing.active_children():
            process.kill()

    async def close(self) -> None:
        """Stop the engine and its processes; requests in flight end with an error event."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._shut_down())
        await asyncio.shield(self._closing)

    def _check_alive(self) -> None:
        if not self.alive():
            raise EngineDeadError
