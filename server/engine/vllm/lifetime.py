"""An engine as something that lives: probed, killed, found dead, closed."""

import asyncio
import multiprocessing
from abc import ABC, abstractmethod

from server.engine.errors import EngineDeadError
from server.engine.vllm.liveness import unless, until


class Lifetime(ABC):
    """The part of an engine that knows whether it lives; its processes are multiprocessing's."""

    def __init__(self) -> None:
        self._killed = False
        self._closing: asyncio.Task[None] | None = None

    @abstractmethod
    def _stopped(self) -> bool:
        """Whether its processes have died."""

    @abstractmethod
    async def _one_token(self) -> None:
        """Generate one token."""

    @abstractmethod
    async def _shut_down(self) -> None:
        """Stop its processes and wait for their end."""

    def alive(self) -> bool:
        """Whether the engine is not known to be dead; vLLM watches its processes."""
        return self._closing is None and not self._killed and not self._stopped()

    async def wait_dead(self) -> None:
        """Return when the engine dies, within two seconds of its process; never after `close`."""
        await until(lambda: self._stopped() and self._closing is None)

    async def probe(self) -> None:
        """Generate one token on the base model, ahead of every waiting request."""
        self._check_alive()
        await unless(self._stopped, self._one_token())

    def kill(self) -> None:
        """End its processes at once, stopped ones too; those below them die with them."""
        self._killed = True
        for process in multiprocessing.active_children():
            process.kill()

    async def close(self) -> None:
        """Stop it and its processes; requests in flight end with an error event."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._shut_down())
        await asyncio.shield(self._closing)

    def _check_alive(self) -> None:
        if not self.alive():
            raise EngineDeadError
