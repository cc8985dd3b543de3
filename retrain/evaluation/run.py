"""Run an evaluation: candidate and live answer held-out prompts, and a judge compares the answers.

At most `concurrency` chat requests are in flight, to spare users' traffic. Prompts that cannot be
answered or judged are left out and counted; if too many fail, the evaluation fails, and nothing is
promoted.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from common.retry import with_retries
from retrain.config import EvaluationConfig
from retrain.dataset.questions import HeldOutPrompt
from retrain.evaluation.answered import Answered, Scored, evaluation_request
from retrain.evaluation.answers import Conversation
from retrain.evaluation.assertions import Case, Suite, check
from retrain.evaluation.harms import load_harm_metric, measure_harm
from retrain.evaluation.judges import JudgeError
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
from retrain.evaluation.verdicts import AnyJudge, BatchJudge, ScoredItem, verdicts
from retrain.ports import Answer, Chat, ChatError, ChatUnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

ReadItems = Callable[[Sequence[str]], Awaitable[Mapping[str, ScoredItem]]]
"""Returns the token ids of answers by interaction id; those that are unknown are left out."""


async def evaluate(
    prompts: Sequence[HeldOutPrompt],
    arms: AnswersByArm,
    chat: Chat,
    judge: AnyJudge | None,
    suite: Suite | None,
    config: EvaluationConfig,
    read_items: ReadItems | None = None,
) -> Evaluation:
    """Have all arms answer all prompts, judge the answers, and run the suite.

    All answers are collected before the first is judged, so that a batch judge scores them at once.

    Args:
        prompts: Distinct held-out questions, as selected by `select_prompts`.
        arms: The models to compare.
        chat: The chat endpoint.
        judge: Compares candidate with live, and with base if there is one. If None, the answers are
            measured but not compared.
        suite: Assertions for candidate and live, or None.
        config: Limits of the evaluation.
        read_items: Reads the token ids of answers, for a batch judge.

    Raises:
        EvaluationError: More than `max_failed_share` of the prompts or of the cases failed.
        JudgeError: A harm metric cannot be loaded, or a batch judge has no scores.

    """
    cases = suite.cases if suite else []
    work = _Work(chat, config, arms.models())
    answered = await _each(prompts, work.answered)
    _enough(answered.failed, len(prompts), "prompts", config)
    scored = await _scored(answered.succeeded, judge, read_items, config)
    rows = await _each(scored, work.row)
    checked = await _each(cases, work.case)
    failed = answered.failed + rows.failed
    _enough(failed, len(prompts), "prompts", config)
    _enough(checked.failed, len(cases), "assertion cases", config)
    return Evaluation(
        arms=arms,
        asked=len(prompts),
        rows=rows.succeeded,
        failed=dict(failed + checked.failed),
        suite=_suite_result(checked.succeeded) if suite else None,
        judged=judge is not None,
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

    def __init__(self, chat: Chat, config: EvaluationConfig, models: Mapping[Arm, str]) -> None:
        self._chat = chat
        self._config = config
        self._models = models
        self._harms = {name: load_harm_metric(spec) for name, spec in config.harms.items()}
        self._chatting = asyncio.Semaphore(config.concurrency)
        self._measuring = asyncio.Semaphore(config.judge_concurrency)

    async def answered(self, prompt: HeldOutPrompt) -> Answered:
        request = evaluation_request(prompt.request)
        return Answered(prompt, request, await self._answers(request, tuple(self._models)))

    async def row(self, scored: Scored) -> Row:
        async with self._measuring:
            return await self._measured_row(scored.answered, scored.scores())

    async def case(self, case: Case) -> _CheckedCase:
        answers = await self._answers(evaluation_request(case.request()), ("candidate", "live"))
        return _CheckedCase(
            case.name,
            {
                arm: await asyncio.to_thread(check, case, answer.parts)
                for arm, answer in answers.items()
            },
        )

    async def _measured_row(self, given: Answered, scores: Mapping[Arm, float]) -> Row:
        conversation = given.request["messages"]
        calls = (given.answers[arm].calls for arm in ("candidate", "live"))
        measured = given.answers.items()
        return Row(
            prompt_id=given.prompt.interaction_id,
            cluster=given.prompt.text_key,
            answers={arm: await self._measured(conversation, one) for arm, one in measured},
            score=scores.get("live"),
            score_base=scores.get("base"),
            calls=await asyncio.to_thread(check_calls, given.request, *calls),
        )

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


async def _scored(
    given: Sequence[Answered],
    judge: AnyJudge | None,
    read_items: ReadItems | None,
    config: EvaluationConfig,
) -> list[Scored]:
    """Compare the candidate's answers with those of the other arms."""
    if judge is None:
        return [Scored(one) for one in given]
    items: Mapping[str, ScoredItem] = {}
    if isinstance(judge, BatchJudge) and read_items is not None:
        items = await read_items([name for one in given for name in one.interaction_ids])
    compared = [(one, arm) for one in given for arm in one.others]
    pairs = [one.pair(arm, items) for one, arm in compared]
    found = await verdicts(judge, pairs, concurrency=config.judge_concurrency)
    by_prompt: dict[str, dict[Arm, float | JudgeError]] = defaultdict(dict)
    for (one, arm), verdict in zip(compared, found, strict=True):
        by_prompt[one.prompt.interaction_id][arm] = verdict
    return [Scored(one, by_prompt[one.prompt.interaction_id]) for one in given]


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
