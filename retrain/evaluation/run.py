"""Run an evaluation: candidate and live answer held-out prompts, and a judge compares the answers.

At most `concurrency` chat requests are in flight, to spare users' traffic. Prompts that cannot be
answered or judged are left out and counted; if too many fail, the evaluation fails, and nothing is
promoted.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from common.retry import with_retries
from retrain.config import EvaluationConfig
from retrain.dataset.questions import HeldOutPrompt
from retrain.evaluation.answers import Conversation, JudgedAnswer
from retrain.evaluation.assertions import Case, Suite, check
from retrain.evaluation.harms import load_harm_metric, measure_harm
from retrain.evaluation.judges import Judge, JudgeError, compare_both_ways
from retrain.evaluation.result import (
    AnswersByArm,
    Arm,
    ArmAnswer,
    Evaluation,
    EvaluationError,
    Row,
    SuiteResult,
)
from retrain.evaluation.tool_calls import check_calls
from retrain.ports import Answer, Chat, ChatError, ChatUnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

NOT_REPLAYED = frozenset(
    {
        "model",
        "n",
        "stream",
        "stream_options",
        "seed",
        "logprobs",
        "top_logprobs",
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "priority",
    }
)
"""Fields of a recorded request that are dropped, since they concern delivery, not sampling."""


def evaluation_request(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded request with its sampling parameters, for one answer without streaming."""
    kept = {key: value for key, value in recorded.items() if key not in NOT_REPLAYED}
    return {**kept, "n": 1, "stream": False}


async def evaluate(
    prompts: Sequence[HeldOutPrompt],
    arms: AnswersByArm,
    chat: Chat,
    judge: Judge | None,
    suite: Suite | None,
    config: EvaluationConfig,
) -> Evaluation:
    """Have all arms answer all prompts, judge the answers, and run the suite.

    Args:
        prompts: Distinct held-out questions, as selected by `select_prompts`.
        arms: The models to compare.
        chat: The chat endpoint.
        judge: Compares candidate with live, and with base if there is one, in both orders. If None,
            nothing is evaluated, and the gate gives the missing judge as its reason.
        suite: Assertions for candidate and live, or None.
        config: Limits of the evaluation.

    Raises:
        EvaluationError: More than `max_failed_share` of the prompts or of the cases failed.
        JudgeError: A harm metric cannot be loaded.

    """
    if judge is None:
        return Evaluation(arms=arms, asked=0, rows=[], failed={}, judged=False)
    cases = suite.cases if suite else []
    work = _Work(chat, judge, config, arms.models())
    rows = await _each(prompts, work.row)
    checked = await _each(cases, work.case)
    _enough(rows.failed, len(prompts), "prompts", config)
    _enough(checked.failed, len(cases), "assertion cases", config)
    return Evaluation(
        arms=arms,
        asked=len(prompts),
        rows=rows.succeeded,
        failed=dict(rows.failed + checked.failed),
        suite=_suite_result(checked.succeeded) if suite else None,
    )


@dataclass
class _Results(Generic[Result]):
    succeeded: list[Result]
    failed: Counter[str]


@dataclass(frozen=True)
class _CheckedCase:
    name: str
    failures: dict[Arm, list[str]]


class _Work:
    """Evaluates single prompts and cases."""

    def __init__(
        self, chat: Chat, judge: Judge, config: EvaluationConfig, models: Mapping[Arm, str]
    ) -> None:
        self._chat = chat
        self._judge = judge
        self._config = config
        self._models = models
        self._harms = {name: load_harm_metric(spec) for name, spec in config.harms.items()}
        self._chatting = asyncio.Semaphore(config.concurrency)
        self._judging = asyncio.Semaphore(config.judge_concurrency)

    async def row(self, prompt: HeldOutPrompt) -> Row:
        request = evaluation_request(prompt.request)
        answers = await self._answers(request, tuple(self._models))
        async with self._judging:
            return await self._judged(prompt, request, answers)

    async def case(self, case: Case) -> _CheckedCase:
        answers = await self._answers(evaluation_request(case.request()), ("candidate", "live"))
        return _CheckedCase(
            case.name,
            {
                arm: await asyncio.to_thread(check, case, answer.parts)
                for arm, answer in answers.items()
            },
        )

    async def _judged(
        self, prompt: HeldOutPrompt, request: Mapping[str, Any], answers: Mapping[Arm, Answer]
    ) -> Row:
        conversation = request["messages"]
        calls = (answers[arm].calls for arm in ("candidate", "live"))
        return Row(
            prompt_id=prompt.interaction_id,
            cluster=prompt.text_key,
            answers={arm: await self._measured(conversation, a) for arm, a in answers.items()},
            score=await self._score(request, answers, "live"),
            score_base=await self._score(request, answers, "base") if "base" in answers else None,
            calls=await asyncio.to_thread(check_calls, request, *calls),
        )

    async def _score(
        self, request: Mapping[str, Any], answers: Mapping[Arm, Answer], against: Arm
    ) -> float:
        a, b = (
            JudgedAnswer(answers[arm].parts, answers[arm].finish_reason)
            for arm in ("candidate", against)
        )
        tools = request.get("tools") or request.get("functions") or ()
        return await compare_both_ways(self._judge, request["messages"], a, b, tools=tools)

    async def _measured(self, conversation: Conversation, answer: Answer) -> ArmAnswer:
        shown = answer.parts.rendered()
        return ArmAnswer(
            text=answer.text,
            words=len(shown.split()),
            finish_reason=answer.finish_reason,
            interaction_id=answer.interaction_id,
            completion_tokens=answer.completion_tokens,
            calls=list(answer.calls),
            refusal=answer.refusal,
            harms={
                name: await measure_harm(metric, conversation, shown)
                for name, metric in self._harms.items()
            },
        )

    async def _answers(self, request: dict[str, Any], arms: Sequence[Arm]) -> dict[Arm, Answer]:
        """Have all arms answer concurrently, under the same load; raise if one of them fails."""
        answers = await asyncio.gather(
            *(self._answer(self._models[arm], request) for arm in arms), return_exceptions=True
        )
        return {arm: _or_raise(answer) for arm, answer in zip(arms, answers, strict=True)}

    async def _answer(self, model: str, request: dict[str, Any]) -> Answer:
        async def ask() -> Answer:
            async with self._chatting:
                return await self._chat.answer(model=model, request=request)

        return await with_retries(
            ask,
            attempts=self._config.attempts,
            retry_on=ChatUnavailableError,
            sleep=asyncio.sleep,
            first_pause=self._config.first_pause,
        )


def _or_raise(answer: Answer | BaseException) -> Answer:
    if isinstance(answer, BaseException):
        raise answer
    return answer


async def _each(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Result]]
) -> _Results[Result]:
    """Process all items concurrently, bounded by semaphores; results keep the order of items."""
    failed: Counter[str] = Counter()

    async def one(item: Item) -> Result | None:
        try:
            return await work(item)
        except (ChatError, JudgeError) as error:
            failed[type(error).__name__] += 1
            return None

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one(item)) for item in items]
    results = [task.result() for task in started]
    return _Results([result for result in results if result is not None], failed)


def _enough(failed: Counter[str], asked: int, what: str, config: EvaluationConfig) -> None:
    if failed.total() <= config.max_failed_share * asked:
        return
    causes = ", ".join(f"{count} {name}" for name, count in sorted(failed.items()))
    raise EvaluationError(
        f"{failed.total()} of {asked} {what} failed ({causes}), more than "
        f"{config.max_failed_share:.0%}: there is no result. Check that the chat endpoint and the "
        "judge answer, then start the run again"
    )


def _suite_result(checked: Sequence[_CheckedCase]) -> SuiteResult:
    arms: tuple[Arm, ...] = ("candidate", "live")
    return SuiteResult(
        cases=len(checked),
        passed={arm: sum(not case.failures[arm] for case in checked) for arm in arms},
        failures={
            arm: {case.name: case.failures[arm] for case in checked if case.failures[arm]}
            for arm in arms
        },
    )
