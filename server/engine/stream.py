"""A stream of events that ends its request's in-flight count, however the stream ends."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Self

from server.engine.error_body import ERROR_PREFIX


class AnswerStream:
    """The events of one answer.

    This is not an async generator, because one that was never started does not run its `finally`
    when closed, and its request would count as in flight forever.

    Args:
        first: The first event, which was already read from `events`.
        events: The other events.
        on_error: Rewrites an error event, so that no exception's text reaches a client.
        release: Stops the request in the engine.
        end_request: Ends the request's in-flight count.

    """

    def __init__(
        self,
        first: str,
        events: AsyncGenerator[str, None],
        *,
        on_error: Callable[[str], str],
        release: Callable[[], Awaitable[None]],
        end_request: Callable[[], None],
    ) -> None:
        self._first: str | None = first
        self._events = events
        self._on_error = on_error
        self._release = release
        self._end_request = end_request

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._first is not None:
            event, self._first = self._first, None
        else:
            try:
                event = await anext(self._events)
            except BaseException:
                self._end_request()
                raise
        return self._on_error(event) if event.startswith(ERROR_PREFIX) else event

    async def aclose(self) -> None:
        """Stop the request in the engine. Safe to call at any time, and twice."""
        self._first = None
        try:
            await self._events.aclose()
            await self._release()
        finally:
            self._end_request()

    def __del__(self) -> None:
        self._end_request()
