"""Compare pairs of answers with whatever judge there is: one that compares, or one that scores.

A `Judge` compares two answers and is asked in both orders. A `BatchJudge` scores answers by
themselves, many at once; the score is a logit, so the sigmoid of a difference is the probability
that people prefer the first answer (Bradley and Terry, 1952).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Protocol, runtime_checkable

from retrain.evaluation.answers import JudgedAnswer, Question
from retrain.evaluation.judges import TIE, Judge, JudgeError, compare_both_ways

CONCURRENCY = 8
"""Pairs that a judge compares at the same time, unless the caller says otherwise."""
UNKNOWN_TOKENS = "the log has no token ids of an answer, which this judge reads"


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """One answer for a batch judge: the token ids of its prompt and its own, as served."""

    prompt_token_ids: Sequence[int]
    token_ids: Sequence[int]


@runtime_checkable
class BatchJudge(Protocol):
    """Scores answers by themselves, many at once."""

    @property
    def name(self) -> str:
        """What judges, for records of what it decided."""
        ...

    async def score(self, items: Sequence[ScoredItem]) -> list[float]:
        """Return a score for each item, on a logit scale: a higher one is better.

        Raises:
            JudgeError: There are no scores.

        """
        ...


AnyJudge = Judge | BatchJudge


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """Two answers to one question.

    `first_item` and `second_item` are the same answers as token ids. Only a batch judge reads them;
    None if they are unknown.
    """

    question: Question
    first: JudgedAnswer
    second: JudgedAnswer
    first_item: ScoredItem | None = None
    second_item: ScoredItem | None = None


async def preferences(
    judge: AnyJudge, pairs: Sequence[AnswerPair], *, concurrency: int = CONCURRENCY
) -> list[float]:
    """Return how much the judge prefers the first answer of each pair: 1 first, 0 second, 0.5 tie.

    Raises `JudgeError` if any pair has no verdict; see `verdicts`, which goes on.
    """
    found = await verdicts(judge, pairs, concurrency=concurrency)
    return [_or_raise(verdict) for verdict in found]


async def verdicts(
    judge: AnyJudge, pairs: Sequence[AnswerPair], *, concurrency: int = CONCURRENCY
) -> list[float | JudgeError]:
    """Return the preference for the first answer of each pair, or why that pair has none.

    Answers with the same text, calls and finish reason are a tie without asking the judge.

    Args:
        judge: Compares both ways round, or scores all answers at once.
        pairs: What to compare.
        concurrency: Pairs that are compared at the same time; a batch judge gets all of them.

    Raises:
        JudgeError: A batch judge has no scores at all.

    """
    if isinstance(judge, BatchJudge):
        return await _by_scores(judge, pairs)
    slots = asyncio.Semaphore(concurrency)

    async def one(pair: AnswerPair) -> float | JudgeError:
        async with slots:
            return await _both_ways(judge, pair)

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one(pair)) for pair in pairs]
    return [task.result() for task in started]


def judge_name(judge: AnyJudge) -> str:
    """Return what judges, for records; a judge without a name has that of its class."""
    return str(getattr(judge, "name", type(judge).__name__))


def preference_of(first: float, second: float) -> float:
    """Return the probability that the answer with the score `first` is preferred."""
    difference = first - second
    if difference >= 0:
        return 1 / (1 + exp(-difference))
    return exp(difference) / (1 + exp(difference))


async def _both_ways(judge: Judge, pair: AnswerPair) -> float | JudgeError:
    question = pair.question
    try:
        return await compare_both_ways(
            judge, question.messages, pair.first, pair.second, tools=question.tools
        )
    except JudgeError as error:
        return error


async def _by_scores(judge: BatchJudge, pairs: Sequence[AnswerPair]) -> list[float | JudgeError]:
    """Score every answer of the pairs that differ, in one batch."""
    asked: list[ScoredItem] = []
    places: list[int | float | JudgeError] = []
    for pair in pairs:
        settled = _settled(pair)
        places.append(len(asked) if settled is None else settled)
        if settled is None:
            asked += [item for item in (pair.first_item, pair.second_item) if item is not None]
    scores = await judge.score(asked) if asked else []
    if len(scores) != len(asked):
        raise JudgeError("the judge did not score every answer")
    return [
        preference_of(scores[place], scores[place + 1]) if isinstance(place, int) else place
        for place in places
    ]


def _settled(pair: AnswerPair) -> float | JudgeError | None:
    """Return the verdict of a pair that a batch judge is not asked about, else None."""
    if pair.first.key == pair.second.key:
        return TIE
    if pair.first_item is None or pair.second_item is None:
        return JudgeError(UNKNOWN_TOKENS)
    return None


def _or_raise(verdict: float | JudgeError) -> float:
    if isinstance(verdict, JudgeError):
        raise verdict
    return verdict
