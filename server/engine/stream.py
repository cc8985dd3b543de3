"""A stream of events that is counted out when it ends, whichever way it ends."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Self

from server.engine.error_body import ERROR_PREFIX


class AnswerStream:
    """Events of one answer, `first` already in hand.

    An async generator would not do: one that was never started runs no `finally` when closed, and
    its request would count as in flight for ever. `on_error` rewrites an error event, so that no
    text of an exception reaches a client. `release` stops the request in the engine; `leave` counts
    it out.
    """

    def __init__(
        self,
        first: str,
        events: AsyncGenerator[str, None],
        *,
        on_error: Callable[[str], str],
        release: Callable[[], Awaitable[None]],
        leave: Callable[[], None],
    ) -> None:
        self._first: str | None = first
        self._events = events
        self._on_error = on_error
        self._release = release
        self._leave = leave

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._first is not None:
            event, self._first = self._first, None
        else:
            try:
                event = await anext(self._events)
            except BaseException:
                self._leave()
                raise
        return self._on_error(event) if event.startswith(ERROR_PREFIX) else event

    async def aclose(self) -> None:
        """Stop the request in the engine. Safe to call at any time, and twice."""
        self._first = None
        try:
            await self._events.aclose()
            await self._release()
        finally:
            self._leave()

    def __del__(self) -> None:
        self._leave()
