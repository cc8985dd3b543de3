"""Passes requests with a grammar through the gate and tracks which are still being compiled."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from server.engine.errors import RequestRefusedError
from server.engine.grammars.gate import GrammarGate, Passage
from server.engine.grammars.trials import Grammar
from server.engine.vllm.liveness import until
from server.engine.vllm.tapping import CurrentCall, Output

OutputT = TypeVar("OutputT", bound=Output)


class Compiling:
    """Holds requests at the gate and tracks those beyond it whose grammar may still compile."""

    def __init__(self, gate: GrammarGate, begun: Callable[[str], bool]) -> None:
        """Hold requests at `gate`; `begun(id)` must return whether a token was sampled."""
        self._gate = gate
        self._begun = begun
        self._ids: set[str] = set()

    def __contains__(self, request_id: str) -> bool:
        """Return whether the engine has the request but has not returned any of its answer."""
        return request_id in self._ids

    async def guarded(
        self,
        outputs: AsyncGenerator[OutputT, None],
        grammar: Grammar,
        current: CurrentCall,
        request_id: str,
    ) -> AsyncGenerator[OutputT, None]:
        """Yield `outputs` once the gate has let `grammar` through.

        Raises `RequestRefusedError`, which is also stored in `current.refused`, because vLLM
        replaces it by an error of its own.
        """
        async with aclosing(outputs):
            try:
                passage = await self._gate.enter(current.call.cache_salt or "", grammar)
            except RequestRefusedError as refused:
                current.refused = refused
                raise
            self._ids.add(request_id)
            releasing = asyncio.ensure_future(self._release_once_compiled(passage, request_id))
            try:
                async for output in outputs:
                    self._ids.discard(request_id)
                    yield output
            finally:
                self._ids.discard(request_id)
                releasing.cancel()
                passage.given_up()

    async def _release_once_compiled(self, passage: Passage, request_id: str) -> None:
        """Release the gate at the first sampled token.

        The first output may be much too late: an answer that is not streamed has only one.
        """
        if passage.held:
            await until(lambda: request_id not in self._ids or self._begun(request_id))
            passage.compiled()
