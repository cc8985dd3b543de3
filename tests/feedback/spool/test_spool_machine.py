"""Any sequence of outages, hangs and crashes: nothing acknowledged is lost, nothing doubled."""

import asyncio
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sqlmodel import select

from feedback.models import Choice, Feedback, Interaction
from feedback.records import FeedbackRecord
from feedback.storage.write_plan import Stored
from tests.database_fixture import make_database
from tests.feedback.examples import NOW, interaction, judgement
from tests.feedback.spool.spooling import HASTY, Spooling, spooling

RATERS = ("ada", "ben")


class Outages(RuleBasedStateMachine):
    """Clients record and rate while the database comes and goes, and the server with it."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="pawl-spool-")
        self.number = 0
        self.acknowledged: set[str] = set()
        self.said: list[FeedbackRecord] = []
        self.database = self.runner.run(make_database(Path(self.folder.name)))
        self.stack, self.log = self.runner.run(self._started(away=False))

    async def _started(self, *, away: bool) -> tuple[AsyncExitStack, Spooling]:
        stack = AsyncExitStack()
        started = spooling(self.database, Path(self.folder.name), HASTY, away=away)
        return stack, await stack.enter_async_context(started)

    @rule(count=st.integers(1, 5))
    def answer(self, count: int) -> None:
        """Requests are answered; each ends with its commit."""
        rows = [interaction() for _ in range(count)]

        async def record() -> None:
            await asyncio.gather(*map(self.log.recorder.record, rows))

        self.runner.run(record())
        self.acknowledged.update(row.id for row in rows)

    @rule(rater=st.sampled_from(RATERS), value=st.integers(1, 5), again=st.booleans())
    def rate(self, rater: str, value: int, again: bool) -> None:
        """A rater has another word; some clients send it twice."""
        self.number += 1
        said = judgement(
            f"word {self.number}",
            digest=f"{rater} {value}",
            received_at=NOW + timedelta(seconds=self.number),
            metric_name="rating",
            rater=rater,
            value=value,
        )

        async def store() -> list[Stored]:
            times = 2 if again else 1
            return await asyncio.gather(*(self.log.recorder.store(said) for _ in range(times)))

        assert {stored.id for stored in self.runner.run(store())} == {said.id}
        self.said.append(said)

    @rule()
    def leave(self) -> None:
        """The database refuses everything from now on."""
        self.log.database.away = True

    @rule()
    def fall_silent(self) -> None:
        """The database commits and says nothing: what is given up is there all the same."""
        self.log.database.silent = True

    @rule()
    def come_back(self) -> None:
        """The database answers, and some of what was spooled is forwarded."""
        self.log.database.away = self.log.database.silent = False
        self.runner.run(asyncio.sleep(0.003))

    @rule(away=st.booleans())
    def crash(self, away: bool) -> None:
        """The process ends at once; another one takes its files up."""

        async def kill() -> None:
            for part in (self.log.recorder, self.log.forwarder):
                task = part._task
                assert task is not None
                task.cancel()
                await asyncio.wait({task})
                part._task = None
            await self.log.forwarder.close()

        self.log.database.silent = False
        self.runner.run(kill())
        self.stack, self.log = self.runner.run(self._started(away=away))

    def teardown(self) -> None:
        """In the end the database is there, and has everything once."""
        self.log.database.away = self.log.database.silent = False
        self.runner.run(self._look())
        self.runner.close()
        self.folder.cleanup()

    async def _look(self) -> None:
        await self.log.caught_up()
        assert not self.log.heard.refusals
        await self.stack.aclose()
        async with self.database.read() as session:
            answered = list(await session.exec(select(Interaction.id)))
            choices = Counter(await session.exec(select(Choice.interaction_id)))
            words = list(await session.exec(select(Feedback)))
        await self.database.close()
        assert Counter(answered) == Counter(self.acknowledged)
        assert set(choices.values()) <= {1}
        assert sorted(word.id for word in words) == sorted(said.id for said in self.said)
        words.sort(key=lambda word: (word.received_at, word.id))
        assert {word.rater: word.value for word in words} == {
            said.rater: said.value for said in self.said
        }


TestOutages = Outages.TestCase
TestOutages.settings = settings(max_examples=12, stateful_step_count=20)
