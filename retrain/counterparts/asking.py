"""Have the live version answer questions again, a few at a time, until the time is up."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from common.database import Database
from common.retry import Sleep, with_retries
from feedback.reading.judgements import LoggedAnswer
from feedback.reading.logged_answers import logged_answers
from retrain.config import EvaluationConfig
from retrain.counterparts.questions import QuestionToAsk
from retrain.counterparts.rows import AnsweredQuestion, ShownAnswer
from retrain.dataset.turns import served_turn
from retrain.evaluation.answered import evaluation_request
from retrain.ports import Chat, ChatError, ChatUnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOKS, FIRST_PAUSE = 7, 0.1
"""How often the log is read for an answer that was just served, and the seconds before the second
look; the pauses double. Its row waits for the database, if that is slow, for some seconds."""
NOT_LOGGED = "NotLogged"
"""The name under which answers are counted that did not appear in the log."""

Logged = Mapping[tuple[str, int], LoggedAnswer]


class _NotYetError(Exception):
    """An answer is not in the log yet."""


class LiveVersion:
    """The version that was live when the snapshot was taken, as the one that answers again.

    Args:
        chat: The chat endpoint, which marks the requests.
        model: The version's name at that endpoint.
        database: The log, from which the token ids are read as they were served.
        config: Attempts per request, and the pauses between them.
        sleep: Sleeps for a number of seconds.

    """

    def __init__(
        self,
        chat: Chat,
        model: str,
        database: Database,
        config: EvaluationConfig,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._chat = chat
        self._model = model
        self._database = database
        self._config = config
        self._sleep = sleep

    async def answer(self, question: QuestionToAsk) -> AnsweredQuestion:
        """Answer a question as often as it says; answers that do not come are counted."""
        failed: Counter[str] = Counter()
        ids = await self._ask(question, failed)
        logged = await self._logged(question, ids)
        rated = logged.get((question.interaction_id, question.choice))
        answers = [_shown(question, logged.get((identifier, 0))) for identifier in ids]
        failed[NOT_LOGGED] += answers.count(None)
        return AnsweredQuestion(
            id=question.id,
            rated=None if rated is None else ShownAnswer.of(rated),
            answers=[answer for answer in answers if answer is not None],
            failed=dict(+failed),
        )

    async def _ask(self, question: QuestionToAsk, failed: Counter[str]) -> list[str]:
        """Return the ids of the new answers. After one that does not come no other is asked."""
        request = evaluation_request(question.request)
        ids: list[str] = []
        for _ in range(question.samples):
            try:
                ids.append(await self._one(request))
            except ChatError as error:
                failed[type(error).__name__] += 1
                break
        return ids

    async def _one(self, request: Mapping[str, Any]) -> str:
        answer = await with_retries(
            lambda: self._chat.answer(model=self._model, request=request),
            attempts=self._config.attempts,
            retry_on=ChatUnavailableError,
            sleep=self._sleep,
            first_pause=self._config.first_pause,
        )
        return answer.interaction_id

    async def _logged(self, question: QuestionToAsk, ids: Sequence[str]) -> Logged:
        """Return what the log has of the answers once it has all of them, or after some looks."""
        found: Logged = {}

        async def look() -> None:
            nonlocal found
            found = await logged_answers(self._database, [question.interaction_id, *ids])
            if not all((identifier, 0) in found for identifier in ids):
                raise _NotYetError

        try:
            await with_retries(
                look,
                attempts=LOOKS,
                retry_on=_NotYetError,
                sleep=self._sleep,
                first_pause=FIRST_PAUSE,
            )
        except _NotYetError:
            return found
        return found


def _shown(question: QuestionToAsk, answer: LoggedAnswer | None) -> ShownAnswer | None:
    if answer is None:
        return None
    if question.kind == "counterpart":
        return ShownAnswer.of(answer)
    return ShownAnswer.of(answer, served_turn(question.request, answer))


async def in_time(
    items: Sequence[Item],
    work: Callable[[Item], Awaitable[Result]],
    *,
    concurrency: int,
    seconds: float,
) -> AsyncGenerator[tuple[Result, float]]:
    """Yield results as they come, each with the seconds that have passed.

    At most `concurrency` items are in work at once. When `seconds` have passed, what is in work is
    stopped; so it is when the caller closes the iterator or is cancelled.
    """
    now = asyncio.get_running_loop().time
    began, waiting = now(), iter(items)
    running: set[asyncio.Future[Result]] = set()
    try:
        while (left := began + seconds - now()) > 0:
            while len(running) < concurrency and (item := next(waiting, None)) is not None:
                running.add(asyncio.ensure_future(work(item)))
            if not running:
                return
            done, _ = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if done:
                task = done.pop()
                running.remove(task)
                yield task.result(), now() - began
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
