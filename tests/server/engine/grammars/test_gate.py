"""Who may have a grammar compiled, and when."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from server.engine.errors import RequestRefusedError
from server.engine.grammars.gate import GrammarGate, Passage
from server.engine.grammars.trials import Grammar, Outcome, Trial
from tests.waiting import until

pytestmark = pytest.mark.anyio


def grammar(name: str) -> Grammar:
    return Grammar("regex", name)


@dataclass
class HandTrials:
    """Trials that end when the test says so."""

    open: dict[str, asyncio.Future[Trial]] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)

    async def __call__(self, grammar: Grammar) -> Trial:
        self.begun.append(grammar.text)
        self.open[grammar.text] = asyncio.get_running_loop().create_future()
        return await self.open[grammar.text]

    def end(self, name: str, outcome: Outcome = "good", seconds: float = 0.5) -> None:
        self.open[name].set_result(Trial(outcome, seconds))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


Enter = Callable[[str, str], "asyncio.Task[Passage]"]


def entering(gate: GrammarGate) -> Enter:
    def enter(tenant: str, name: str) -> "asyncio.Task[Passage]":
        return asyncio.create_task(gate.enter(tenant, grammar(name)))

    return enter


async def test_a_tenants_grammars_are_tried_one_at_a_time() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first, second = enter("one", "a"), enter("one", "b")
    await settle()
    assert trials.begun == ["a"]
    trials.end("a")
    (await first).compiled()
    await settle()
    assert trials.begun == ["a", "b"]
    trials.end("b")
    await second


async def test_another_tenant_does_not_wait_for_it() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    waiting = [enter("one", str(number)) for number in range(6)]
    other = enter("two", "b")
    await settle()
    trials.end("b")
    assert isinstance(await other, Passage)
    for task in waiting:
        task.cancel()


async def test_a_costly_grammar_holds_its_tenants_next_until_the_engine_has_compiled_it() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first = enter("one", "a")
    await settle()
    trials.end("a", seconds=0.5)
    passage = await first
    second = enter("one", "a")  # known, and costly all the same
    await settle()
    assert not second.done()
    passage.compiled()
    assert isinstance(await second, Passage)
    assert trials.begun == ["a"]


async def test_a_cheap_grammar_holds_nobody_and_is_tried_once() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first = enter("one", "a")
    await settle()
    trials.end("a", seconds=0.01)
    assert not (await first).held
    await asyncio.gather(*(enter("one", "a") for _ in range(100)))
    assert trials.begun == ["a"]


@pytest.mark.parametrize(
    ("outcome", "status"), [("refused", 400), ("slow", 400), ("died", 400), ("late", 503)]
)
async def test_what_did_not_pass_its_trial_is_refused(outcome: Outcome, status: int) -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first = enter("one", "a")
    await settle()
    trials.end("a", outcome)
    with pytest.raises(RequestRefusedError) as refused:
        await first
    assert refused.value.status == status


async def test_what_was_refused_is_refused_again_without_a_trial_or_a_turn() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first, busy = enter("one", "a"), enter("one", "b")
    await settle()
    trials.end("a", "slow")
    with pytest.raises(RequestRefusedError):
        await first
    await settle()
    with pytest.raises(RequestRefusedError):
        await enter("one", "a")
    assert trials.begun == ["a", "b"]
    busy.cancel()


async def test_a_trial_that_could_not_be_made_is_made_again() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first = enter("one", "a")
    await settle()
    trials.end("a", "late")
    with pytest.raises(RequestRefusedError):
        await first
    second = enter("one", "a")
    await settle()
    trials.end("a")
    assert isinstance(await second, Passage)


async def test_a_client_that_leaves_in_the_trial_gets_its_tenant_no_other_turn() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first, second = enter("one", "a"), enter("one", "b")
    await settle()
    first.cancel()
    await settle()
    assert trials.begun == ["a"]
    trials.end("a")
    await settle()
    assert trials.begun == ["a", "b"]
    second.cancel()


async def test_a_client_that_leaves_in_the_queue_is_no_longer_in_it() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first, second, third = enter("one", "a"), enter("one", "b"), enter("one", "c")
    await settle()
    second.cancel()
    trials.end("a", seconds=0)
    await first
    await settle()
    assert trials.begun == ["a", "c"]
    third.cancel()


async def test_a_request_that_ends_before_its_grammar_is_compiled_frees_the_turn_later() -> None:
    trials = HandTrials()
    enter = entering(GrammarGate(trials))
    first = enter("one", "a")
    await settle()
    trials.end("a", seconds=0.2)
    passage = await first
    passage.given_up()
    assert passage.held
    await until(lambda: not passage.held)


async def test_more_than_64_that_wait_are_refused_for_now() -> None:
    enter = entering(GrammarGate(HandTrials()))
    waiting = [enter("one", str(number)) for number in range(65)]
    await settle()
    with pytest.raises(RequestRefusedError) as refused:
        await enter("one", "one more")
    assert refused.value.status == 503
    for task in waiting:
        task.cancel()
