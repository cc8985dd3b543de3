"""Make pairs of the two answers to a synthetic question. Pure."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from retrain.config import SyntheticConfig
from retrain.counterparts.choose import TIE, Reason
from retrain.counterparts.judging import QuestionToJudge
from retrain.counterparts.rows import AnsweredQuestion, JudgedQuestion, ShownAnswer
from retrain.synthetic.checks import Flaw
from retrain.trainer.examples.fit import fit_of_row
from retrain.trainer.examples.rows import CompletionRow, PairRow

SyntheticReason = Reason | Flaw | Literal["no_question", "unanswerable"]
ANSWERS = 2
"""Answers to each question."""


class SyntheticQuestion(BaseModel):
    """A written question and its answers, or why it was not kept.

    Attributes:
        id: The seed's id.
        question: What was written; None if nothing was.
        request: The request with the question; None if it was not kept.
        flaw: Why it was not kept.
        answered: The live version's answers.
        seconds: Seconds of work in the run when this question was finished.

    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    question: str | None = None
    request: dict[str, Any] | None = None
    flaw: str | None = None
    answered: AnsweredQuestion | None = None
    seconds: float = 0.0


def why_not_compared(made: SyntheticQuestion) -> str | None:
    """Return why a question's answers cannot be compared, or None if they can."""
    if made.flaw is not None:
        return made.flaw
    answers = [] if made.answered is None else made.answered.answers
    if made.request is None or len(answers) != ANSWERS:
        return "failed"
    first, second = answers
    if first.prompt_token_ids != second.prompt_token_ids:
        return "different_prompt"
    return "identical" if first.parts.key == second.parts.key else None


def to_compare(made: SyntheticQuestion) -> QuestionToJudge | None:
    """Return the second answer to be compared with the first; None if they cannot be."""
    if why_not_compared(made) is not None or made.answered is None:
        return None
    first, second = made.answered.answers
    return QuestionToJudge(made.id, made.request or {}, first, [second])


def synthetic_pair(
    made: SyntheticQuestion,
    judged: JudgedQuestion | None,
    config: SyntheticConfig,
    max_length: int,
) -> PairRow | str:
    """Return the pair of a question's two answers, or why there is none.

    Args:
        made: The question and its answers.
        judged: The judge's preference for the second answer; None without a verdict.
        config: The least margin, and the weight.
        max_length: Tokens that a prompt and an answer may have together.

    """
    reason = why_not_compared(made)
    if reason is not None or made.answered is None:
        return reason or "failed"
    preference = None if judged is None else judged.preferences[0]
    if judged is None or preference is None:
        return "unjudged"
    first, second = made.answered.answers
    margin = 2 * (preference - TIE)
    better, worse = (second, first) if margin > 0 else (first, second)
    if margin == 0 or abs(margin) < config.margin:
        return "no_winner"
    if better.truncated:
        return "truncated"
    return _fitting(_row(made.id, better, worse, abs(margin), judged.judge, config), max_length)


def _row(
    identifier: str,
    better: ShownAnswer,
    worse: ShownAnswer,
    margin: float,
    judge: str,
    config: SyntheticConfig,
) -> PairRow:
    return PairRow(
        id=identifier,
        prompt_token_ids=better.prompt_token_ids,
        chosen=CompletionRow(token_ids=better.token_ids),
        rejected=CompletionRow(token_ids=worse.token_ids),
        weight=config.weight,
        signal="preference",
        origin="synthetic",
        vouched="neither",
        judge=judge,
        margin=margin,
    )


def _fitting(pair: PairRow, max_length: int) -> PairRow | str:
    misfit = fit_of_row(pair, max_length).misfit
    if misfit is None:
        return pair
    return misfit if misfit in ("identical", "too_long") else "unusable"
