"""Merges the event streams of a comparison into one; each event names its side."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from server.engine.error_body import ERROR_PREFIX, STREAM_END
from server.serving.answering import cancelled

SIDES = ("a", "b")
_DATA = "data: "


async def merged(streams: Sequence[AsyncGenerator[str]]) -> AsyncGenerator[str]:
    """Yield the events of both streams as they arrive, and `[DONE]` after both have ended.

    A task reads and closes each stream. Events that a slow client has not read yet are queued
    without a bound of their own; the answers' length bounds them.
    """
    events: asyncio.Queue[str | None] = asyncio.Queue()
    tasks = [
        asyncio.ensure_future(_pass_on(side, stream, events))
        for side, stream in zip(SIDES, streams, strict=True)
    ]
    try:
        open_streams = len(tasks)
        while open_streams:
            event = await events.get()
            if event is None:
                open_streams -= 1
            else:
                yield event
        await asyncio.gather(*tasks)  # raises a stream's error
    finally:
        for task in tasks:
            await cancelled(task)
    yield STREAM_END


async def _pass_on(
    side: str, stream: AsyncGenerator[str], events: asyncio.Queue[str | None]
) -> None:
    try:
        async with aclosing(stream):
            async for event in stream:
                if event != STREAM_END:
                    events.put_nowait(marked(side, event))
    finally:
        events.put_nowait(None)


def marked(side: str, event: str) -> str:
    """Turn `data: {…}` into `data: {"side": "a", "chunk": {…}}`; an error replaces `chunk`."""
    data = event[len(_DATA) :].rstrip("\n")
    if event.startswith(ERROR_PREFIX):
        return f'{_DATA}{{"side": "{side}", {data[1:]}\n\n'
    return f'{_DATA}{{"side": "{side}", "chunk": {data}}}\n\n'
