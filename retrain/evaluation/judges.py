"""Judges compare two answers to the same conversation.

A judge is a Python callable, or a model with a rubric behind an OpenAI-compatible endpoint
(LLM-as-a-judge, arXiv:2306.05685). Every pair is judged in both orders, so that a judge's position
bias cancels out.

An answer consists of text and tool calls. A judge with `compare_answers` gets them separately; any
other judge gets each call as a line of text (`AnswerParts.rendered`).
"""

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import httpx
from pydantic import BaseModel, ConfigDict

from common.retry import Sleep
from feedback.answer_parts import AnswerParts
from retrain.config import JudgeEndpoint
from retrain.errors import JudgeError, JudgeUnavailableError
from retrain.evaluation.answers import Conversation, JudgedAnswer, Question, judged_answer
from retrain.evaluation.endpoint import JsonEndpoint
from retrain.evaluation.judge_prompt import judge_messages, standard
from retrain.evaluation.user_calls import CallError, call

__all__ = [
    "CALL_SECONDS",
    "SCORES",
    "TIE",
    "AnswerJudge",
    "CallableJudge",
    "Compare",
    "CompareAnswers",
    "Judge",
    "JudgeError",
    "JudgeUnavailableError",
    "OpenAIJudge",
    "compare_both_ways",
    "find_judge",
    "load_judge",
    "load_object",
    "require_arguments",
]

Compare = Callable[[Conversation, str, str], float | Awaitable[float]]
CompareAnswers = Callable[[Question, JudgedAnswer, JudgedAnswer], float | Awaitable[float]]

TIE = 0.5
CALL_SECONDS = 300.0
"""Seconds a user-supplied judge may take per call: enough for several models and retries."""


@runtime_checkable
class Judge(Protocol):
    """Compares two answers."""

    async def compare(self, conversation: Conversation, a: str, b: str) -> float:
        """Return 1 if `a` is the better answer to the conversation, 0 if `b` is, 0.5 for a tie.

        Values in between express how certain the judge is.

        Raises:
            JudgeError: There is no verdict.

        """
        ...


@runtime_checkable
class AnswerJudge(Judge, Protocol):
    """A judge that takes text, calls, finish reason and offered tools separately."""

    async def compare_answers(self, question: Question, a: JudgedAnswer, b: JudgedAnswer) -> float:
        """Compare as `Judge.compare` does; called instead of it."""
        ...


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")

    verdict: Literal["A", "B", "tie"]


SCORES: Mapping[str, float] = {"A": 1.0, "B": 0.0, "tie": TIE}
"""The score of A over B for each verdict."""


class OpenAIJudge:
    """Asks a model for a verdict, with `response_format` json_schema.

    Raises `JudgeError` if the endpoint's constitution cannot be read.
    """

    def __init__(
        self, endpoint: JudgeEndpoint, client: httpx.AsyncClient, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._rubric = _standard(endpoint)
        self._endpoint = JsonEndpoint(endpoint, client, sleep=sleep)

    async def compare(self, conversation: Conversation, a: str, b: str) -> float:
        """See `Judge`. Overload and malformed verdicts are retried with growing pauses."""
        answers = (JudgedAnswer(AnswerParts(text)) for text in (a, b))
        return await self.compare_answers(Question(conversation), *answers)

    async def compare_answers(self, question: Question, a: JudgedAnswer, b: JudgedAnswer) -> float:
        """See `AnswerJudge`."""
        messages = judge_messages(self._rubric, question.messages, a, b, tools=question.tools)
        return SCORES[(await self._endpoint.ask(messages, _Reply)).verdict]


def _standard(endpoint: JudgeEndpoint) -> str:
    try:
        return standard(endpoint.rubric, endpoint.constitution)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise JudgeError(f"the constitution cannot be read: {reason}") from error


class CallableJudge:
    """A Python function as a judge. A blocking one runs in a thread, for `seconds` at most.

    `answers` is the judge's `compare_answers`, if it has one; otherwise `function` gets the answers
    as texts.
    """

    def __init__(
        self,
        function: Compare,
        *,
        answers: CompareAnswers | None = None,
        seconds: float = CALL_SECONDS,
    ) -> None:
        self._function = function
        self._answers = answers
        self._seconds = seconds

    async def compare(self, conversation: Conversation, a: str, b: str) -> float:
        """See `Judge`. Every error of the function is raised as a `JudgeError`."""
        return await self._call(self._function, conversation, a, b)

    async def compare_answers(self, question: Question, a: JudgedAnswer, b: JudgedAnswer) -> float:
        """See `AnswerJudge`."""
        if self._answers is not None:
            return await self._call(self._answers, question, a, b)
        return await self.compare(question.messages, a.parts.rendered(), b.parts.rendered())

    async def _call(self, function: Callable[..., object], *arguments: object) -> float:
        try:
            return _checked(await call(function, *arguments, seconds=self._seconds))
        except JudgeError:
            raise
        except CallError as error:
            raise JudgeError(f"the judge function {error}") from error
        except Exception as error:
            raise JudgeError(f"the judge function raised {type(error).__name__}") from error


def load_judge(spec: str | JudgeEndpoint, client: httpx.AsyncClient) -> Judge:
    """Create the judge that the settings name.

    Args:
        spec: An endpoint, or `module:name` of a `Judge`, of a factory without arguments that
            returns one (such as a class), or of a function `compare(conversation, a, b)`, async or
            not.
        client: HTTP client for the endpoint. The caller closes it.

    Raises:
        JudgeError: The object does not exist or is not a judge.

    """
    if isinstance(spec, JudgeEndpoint):
        return OpenAIJudge(spec, client)
    found = find_judge(spec)
    compare = found if _takes_arguments(found) else _made(spec, found)
    return CallableJudge(compare, answers=_answers_of(compare))


def _answers_of(compare: Compare) -> CompareAnswers | None:
    """Return `compare_answers` of the judge whose method `compare` is, if it has one."""
    judge = getattr(compare, "__self__", None)
    return judge.compare_answers if isinstance(judge, AnswerJudge) else None


def find_judge(spec: str) -> Callable[..., Any]:
    """Return what `module:name` names: a comparison, or a factory of a judge, without calling it.

    Raises:
        JudgeError: The object does not exist or cannot compare two answers.

    """
    found = load_object(spec)
    if not inspect.isclass(found) and isinstance(found, Judge):
        found = found.compare
    if not callable(found):
        raise JudgeError(f"{spec} is neither a judge nor callable")
    if _takes_arguments(found):
        require_arguments(spec, found, "conversation", "a", "b")
    return found


def _made(spec: str, factory: Callable[[], Any]) -> Compare:
    """Return the method `compare` of the judge that a factory creates. Raises `JudgeError`."""
    try:
        made = factory()
    except Exception as error:
        raise JudgeError(f"{spec} raised {type(error).__name__} when it was called") from error
    if not isinstance(made, Judge):
        raise JudgeError(f"{spec} returned an object without `compare(conversation, a, b)`")
    return made.compare


def load_object(spec: str) -> object:
    """Import the object `module:name`. Raises `JudgeError` if that fails.

    The import runs the module's code, which may raise any exception or call `sys.exit`.
    """
    module, _, name = spec.partition(":")
    if not module or not name:
        raise JudgeError(f"{spec!r} should read module:name, such as my_company.judges:panel")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise JudgeError(f"{spec} cannot be imported ({error}): is it installed?") from error
    except (Exception, SystemExit) as error:
        raise JudgeError(f"importing {spec} raises {type(error).__name__}: fix it") from error


def require_arguments(spec: str, function: Callable[..., Any], *names: str) -> None:
    """Raise `JudgeError` if a function cannot be called with these positional arguments."""
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise JudgeError(f"{spec} does not take the arguments ({', '.join(names)})") from error
    except ValueError:  # some functions written in C have no signature
        return


async def compare_both_ways(
    judge: Judge,
    conversation: Conversation,
    a: JudgedAnswer | str,
    b: JudgedAnswer | str,
    *,
    tools: Sequence[Mapping[str, Any]] = (),
) -> float:
    """Return the judge's score of `a` over `b`, 0 to 1, averaged over both orders.

    Averaging cancels position bias. Answers with the same text, calls (arguments compared as JSON)
    and finish reason are a tie without asking the judge.
    """
    question, first, second = Question(conversation, tools), judged_answer(a), judged_answer(b)
    if first.key == second.key:
        return TIE
    forth = await _compared(judge, question, first, second)
    back = await _compared(judge, question, second, first)
    return (forth + (1 - back)) / 2


async def _compared(judge: Judge, question: Question, a: JudgedAnswer, b: JudgedAnswer) -> float:
    if isinstance(judge, AnswerJudge):
        return _checked(await judge.compare_answers(question, a, b))
    texts = a.parts.rendered(), b.parts.rendered()
    return _checked(await judge.compare(question.messages, *texts))


def _checked(score: object) -> float:
    if isinstance(score, bool | int | float) and 0 <= score <= 1:
        return float(score)
    raise JudgeError("a judge must return a number from 0 (b is better) to 1 (a is better)")


def _takes_arguments(function: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some functions written in C have no signature
        return True
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )
