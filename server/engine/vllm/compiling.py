"""Requests on their way through a grammar's compilation into the engine."""

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
    """Holds requests at the gate, and knows which of those beyond it may still be compiling."""

    def __init__(self, gate: GrammarGate, begun: Callable[[str], bool]) -> None:
        """`begun` tells whether the engine has sampled a token of a request."""
        self._gate = gate
        self._begun = begun
        self._ids: set[str] = set()

    def __contains__(self, request_id: str) -> bool:
        """Whether the engine has the request, and has handed out nothing of its answer yet."""
        return request_id in self._ids

    async def guarded(
        self,
        outputs: AsyncGenerator[OutputT, None],
        grammar: Grammar,
        current: CurrentCall,
        request_id: str,
    ) -> AsyncGenerator[OutputT, None]:
        """`outputs`, begun once the gate has let `grammar` through.

        Raises `RequestRefusedError`, and leaves it in `current`.
        """
        async with aclosing(outputs):
            try:
                passage = await self._gate.enter(current.call.cache_salt or "", grammar)
            except RequestRefusedError as refused:
                current.refused = refused
                raise
            self._ids.add(request_id)
            leaving = asyncio.ensure_future(self._leave_once_compiled(passage, request_id))
            try:
                async for output in outputs:
                    self._ids.discard(request_id)
                    yield output
            finally:
                self._ids.discard(request_id)
                leaving.cancel()
                passage.given_up()

    async def _leave_once_compiled(self, passage: Passage, request_id: str) -> None:
        """An answer that is not streamed is handed out at its end, long after its grammar."""
        if passage.held:
            await until(lambda: request_id not in self._ids or self._begun(request_id))
            passage.compiled()
