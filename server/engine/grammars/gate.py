"""Which grammars reach the engine, and when: tried, and one at a time for each tenant."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from weakref import WeakValueDictionary

from server.engine.errors import RequestRefusedError
from server.engine.grammars.trials import Grammar, Trial, Trials

_REMEMBERED = 4096
_CHEAP_SECONDS = 0.1
_WAITING = 64

_WHY = {
    "refused": "the engine cannot follow this schema or grammar.",
    "slow": "this schema or grammar takes too long to compile or to follow; make it simpler:"
    " fewer and shorter texts, smaller counts (maxLength, {n}), no repetition of what repeats.",
    "died": "this schema or grammar takes too much memory; make it simpler.",
}


class _Turn:
    """A tenant's turn: whoever holds it has the tenant's only costly grammar."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def take(self) -> None:
        """Wait for it. Raises `RequestRefusedError` where 64 wait already."""
        if self._waiting >= _WAITING:
            raise _busy("too many schemas of yours wait to be compiled; try again later.")
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1

    def give(self) -> None:
        """Let the next one in."""
        self._lock.release()


class GrammarGate:
    """Lets a grammar through once it was tried, and keeps what its trial said.

    A tenant's untried grammars, and those known to be costly (a tenth of a second and more), go
    through one after the other; a costly one keeps its tenant's next from both the trial and the
    engine until the engine has compiled it. So each tenant has at most one compilation under way,
    and waits for at most one of each other tenant's.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._known: OrderedDict[bytes, Trial] = OrderedDict()
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    async def enter(self, tenant: str, grammar: Grammar) -> "Passage":
        """Wait until the engine may compile `grammar`; to be left once it has.

        Raises `RequestRefusedError`: 400 for a grammar that is none or too costly, 503 where the
        machine is too busy to tell, or 64 grammars of the tenant wait already.
        """
        known = self._recall(grammar)
        if known is not None and (known.outcome != "good" or known.seconds < _CHEAP_SECONDS):
            return _passage(known, _nothing)
        turn = self._turns.setdefault(tenant, _Turn())
        await turn.take()
        try:
            return _passage(self._recall(grammar) or await self._tried(grammar, turn), turn.give)
        except RequestRefusedError:
            turn.give()
            raise

    async def _tried(self, grammar: Grammar, turn: _Turn) -> Trial:
        """The trial; a client that leaves meanwhile does not get its tenant another turn."""
        trial = asyncio.ensure_future(self._try(grammar))
        try:
            return await asyncio.shield(trial)
        except BaseException:
            trial.add_done_callback(lambda _: turn.give())
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
    """A grammar that was let through. Leaving it lets the tenant's next one in."""

    def __init__(self, seconds: float, release: Callable[[], None]) -> None:
        self._seconds = seconds
        self._release: Callable[[], None] | None = release

    @property
    def held(self) -> bool:
        """Whether the tenant's next one waits for it."""
        return self._release is not None

    def compiled(self) -> None:
        """The engine has compiled it."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def given_up(self) -> None:
        """The request has ended before that was seen: allow for the time that compiling takes."""
        if self._release is not None:
            asyncio.get_running_loop().call_later(self._seconds, self.compiled)


def _passage(trial: Trial, release: Callable[[], None]) -> Passage:
    """Let what was tried through; what is compiled in no time keeps nobody waiting."""
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
    """No turn is held."""
