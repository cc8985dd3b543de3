"""Admits grammars to the engine: each after a trial, and one per tenant at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from weakref import WeakValueDictionary

from server.engine.errors import RequestRefusedError
from server.engine.grammars.trials import Grammar, Trial, Trials

_REMEMBERED = 4096
"""Results of trials that are cached; the oldest are evicted."""
_CHEAP_SECONDS = 0.1
"""A grammar that compiles in less does not block its tenant's next one."""
_WAITING = 64
"""Grammars of one tenant that may wait; a further one gets 503."""

_WHY = {
    "refused": "the engine cannot follow this schema or grammar.",
    "slow": "this schema or grammar takes too long to compile or to follow; make it simpler:"
    " fewer and shorter texts, smaller counts (maxLength, {n}), no repetition of what repeats.",
    "died": "this schema or grammar takes too much memory; make it simpler.",
}


class _Turn:
    """A tenant's lock; its holder has the tenant's only costly grammar in progress."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def acquire(self) -> None:
        """Wait for the lock. Raises `RequestRefusedError` if `_WAITING` wait already."""
        if self._waiting >= _WAITING:
            raise _busy("too many schemas of yours wait to be compiled; try again later.")
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1

    def release(self) -> None:
        """Let the next grammar of the tenant in."""
        self._lock.release()


class GrammarGate:
    """Admits a grammar to the engine after a trial, and caches the results of trials.

    A tenant's untried grammars, and those known to be costly (`_CHEAP_SECONDS` or more), pass one
    after the other. A costly one holds the tenant's lock until the engine has compiled it, so the
    tenant's next one is neither tried nor compiled meanwhile. Each tenant thus has at most one
    compilation in progress and waits for at most one of every other tenant.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._known: OrderedDict[bytes, Trial] = OrderedDict()
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    async def enter(self, tenant: str, grammar: Grammar) -> "Passage":
        """Wait until the engine may compile `grammar`.

        The caller must call `compiled` or `given_up` on the result. Raises `RequestRefusedError`:
        400 for an invalid or too costly grammar, 503 if the machine is too busy for a trial or
        `_WAITING` grammars of the tenant wait already.
        """
        known = self._recall(grammar)
        if known is not None and (known.outcome != "good" or known.seconds < _CHEAP_SECONDS):
            return _passage(known, _nothing)
        turn = self._turns.setdefault(tenant, _Turn())
        await turn.acquire()
        try:
            return _passage(self._recall(grammar) or await self._tried(grammar, turn), turn.release)
        except RequestRefusedError:
            turn.release()
            raise

    async def _tried(self, grammar: Grammar, turn: _Turn) -> Trial:
        """Try `grammar`. If the client disconnects, the lock is held until the trial has ended."""
        trial = asyncio.ensure_future(self._try(grammar))
        try:
            return await asyncio.shield(trial)
        except BaseException:
            trial.add_done_callback(lambda _: turn.release())
            raise

    async def _try(self, grammar: Grammar) -> Trial:
        trial = await self._trials(grammar)
        if trial.outcome != "late":
            self._known[grammar.key] = trial
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return trial

    def _recall(self, grammar: Grammar) -> Trial | None:
        known = self._known.get(grammar.key)
        if known is not None:
            self._known.move_to_end(grammar.key)
        return known


class Passage:
    """An admitted grammar, which may hold its tenant's lock."""

    def __init__(self, seconds: float, release: Callable[[], None]) -> None:
        self._seconds = seconds
        self._release: Callable[[], None] | None = release

    @property
    def held(self) -> bool:
        """Whether it still holds its tenant's lock."""
        return self._release is not None

    def compiled(self) -> None:
        """Release the lock: the engine has compiled the grammar."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def given_up(self) -> None:
        """Release the lock after the time that compiling takes: the request ended before that."""
        if self._release is not None:
            asyncio.get_running_loop().call_later(self._seconds, self.compiled)


def _passage(trial: Trial, release: Callable[[], None]) -> Passage:
    """Admit a tried grammar or raise its refusal; a cheap one releases the lock at once."""
    if trial.outcome == "late":
        raise _busy("the engine is too busy to compile this schema; try again later.")
    if trial.outcome != "good":
        raise RequestRefusedError(
            f"response_format: {_WHY[trial.outcome]}", param="response_format"
        )
    passage = Passage(trial.seconds, release)
    if trial.seconds < _CHEAP_SECONDS:
        passage.compiled()
    return passage


def _busy(why: str) -> RequestRefusedError:
    return RequestRefusedError(f"response_format: {why}", status=HTTPStatus.SERVICE_UNAVAILABLE)


def _nothing() -> None:
    """Do nothing: no lock is held."""
