"""Have the judge compare new answers with rated ones, both ways round."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from retrain.counterparts.rows import JudgedQuestion, ShownAnswer
from retrain.evaluation.answers import Question
from retrain.evaluation.judges import JudgeError
from retrain.evaluation.verdicts import (
    AnswerPair,
    AnyJudge,
    BatchJudge,
    ScoredItem,
    judge_name,
    verdicts,
)

CHUNK = 16
"""Questions that are judged before their verdicts are stored. A batch judge gets all at once."""


@dataclass(frozen=True, slots=True)
class QuestionToJudge:
    """A rated answer, and the new answers to compare with it, at least one."""

    id: str
    request: Mapping[str, Any]
    rated: ShownAnswer
    answers: Sequence[ShownAnswer]

    def pairs(self) -> list[AnswerPair]:
        """Return each new answer with the rated one as its rival."""
        tools = self.request.get("tools") or self.request.get("functions") or ()
        question = Question(self.request["messages"], tools)
        rated, rated_item = self.rated.judged, _item(self.rated)
        return [
            AnswerPair(question, answer.judged, rated, _item(answer), rated_item)
            for answer in self.answers
        ]


async def judged_questions(
    judge: AnyJudge, questions: Sequence[QuestionToJudge], *, concurrency: int
) -> AsyncGenerator[list[JudgedQuestion]]:
    """Yield the verdicts on all questions, some at a time.

    A comparison without a verdict is None in `JudgedQuestion.preferences`.

    Raises:
        JudgeError: The judge gave none of `CHUNK` questions a verdict; then it is out of order.

    """
    size = max(1, len(questions)) if isinstance(judge, BatchJudge) else CHUNK
    for start in range(0, len(questions), size):
        yield await _judged(judge, questions[start : start + size], concurrency)


async def _judged(
    judge: AnyJudge, questions: Sequence[QuestionToJudge], concurrency: int
) -> list[JudgedQuestion]:
    pairs = [pair for question in questions for pair in question.pairs()]
    found = await verdicts(judge, pairs, concurrency=concurrency)
    errors = [one for one in found if isinstance(one, JudgeError)]
    if errors and len(errors) == len(found) and len(questions) >= CHUNK:
        raise errors[0]
    left = iter(None if isinstance(one, JudgeError) else one for one in found)
    return [
        JudgedQuestion(
            id=question.id,
            judge=judge_name(judge),
            preferences=list(islice(left, len(question.answers))),
        )
        for question in questions
    ]


def _item(answer: ShownAnswer) -> ScoredItem:
    return ScoredItem(answer.prompt_token_ids, answer.token_ids)
