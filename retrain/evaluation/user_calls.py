"""Call user-supplied functions (judges, harm metrics), which may hang.

Each call has its own daemon thread. In asyncio's thread pool, a hanging call would occupy one of
the few threads that also verify adapters and close the engine and the database, and the interpreter
would wait for it on exit. A thread cannot be killed, so a call that takes too long is abandoned.
"""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

ABANDONED_MAX = 64
"""Abandoned calls that may hang at the same time; with more, no further call is made."""

# Global, because threads belong to the process.
_abandoned: set[Future[object]] = set()


class CallError(Exception):
    """A call was abandoned or not made. The message is a predicate of the function's name."""


async def call(function: Callable[..., object], *arguments: object, seconds: float) -> object:
    """Call a function in a thread; await its result in this loop if it is awaitable.

    Raises:
        CallError: The call took longer than `seconds`, or too many calls hang already.
        Exception: Any error of the function.

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
    if len(_abandoned) >= ABANDONED_MAX:
        raise CallError(f"is not called, as {ABANDONED_MAX} calls hang: fix it, then restart")
    done: Future[object] = Future()
    done.set_running_or_notify_cancel()  # so that cancelling the waiter does not cancel it
    work = partial(contextvars.copy_context().run, function, *arguments)
    threading.Thread(target=_run, args=(done, work), name="user-call", daemon=True).start()
    try:
        return await asyncio.wrap_future(done)
    except asyncio.CancelledError:
        _abandoned.add(done)
        done.add_done_callback(_abandoned.discard)
        raise


def _run(done: Future[object], work: Callable[[], object]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - sys.exit() in it must not end the server
        odd = isinstance(error, StopIteration) or not isinstance(error, Exception)
        done.set_exception(RuntimeError(type(error).__name__) if odd else error)
