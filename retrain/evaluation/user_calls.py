"""Calls of users' own functions (judges, harm metrics), which may hang.

Each call has a daemon thread of its own, not one of asyncio's pool: there a thread that hangs would
take one of the few that also verify adapters and close the engine and the database, and the
interpreter would wait for it at its end. Nothing can end a thread from outside; a call that has
taken too long is left behind, and the process ends without it.
"""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

LEFT_MAX = 64
"""So many calls may hang at a time; with more, none is made until the server starts again."""

# Of the process, as its threads are.
_left_behind: set[Future[object]] = set()


class CallError(Exception):
    """A call was given up, or not made. The message says why; it goes on from the caller's name."""


async def call(function: Callable[..., object], *arguments: object, seconds: float) -> object:
    """Call a function, async or not; what it awaits runs in this loop, the rest in a thread.

    Raises:
        CallError: It took longer than `seconds`, or too many calls hang already.
        Exception: Whatever the function raised.

    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            found = await _in_thread(function, *arguments)
            return await found if inspect.isawaitable(found) else found
    except TimeoutError:
        if limit.expired():
            raise CallError(f"took longer than {seconds:g} seconds") from None
        raise


async def _in_thread(function: Callable[..., object], *arguments: object) -> object:
    if len(_left_behind) >= LEFT_MAX:
        raise CallError(f"is not called, as {LEFT_MAX} calls hang: mend it and start again")
    done: Future[object] = Future()
    done.set_running_or_notify_cancel()  # whoever gives up waiting cancels nothing in the thread
    work = partial(contextvars.copy_context().run, function, *arguments)
    threading.Thread(target=_run, args=(done, work), name="user-call", daemon=True).start()
    try:
        return await asyncio.wrap_future(done)
    except asyncio.CancelledError:
        _left_behind.add(done)
        done.add_done_callback(_left_behind.discard)
        raise


def _run(done: Future[object], work: Callable[[], object]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - sys.exit() in it must not end the server
        odd = isinstance(error, StopIteration) or not isinstance(error, Exception)
        done.set_exception(RuntimeError(type(error).__name__) if odd else error)
