"""What a search found: the pairs, and why the other questions gave none. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from retrain.config import RetrainConfig
from retrain.counterparts.choose import Reason
from retrain.counterparts.drawing import DrawnQuestions, label_question, pair_question
from retrain.counterparts.judging import QuestionToJudge
from retrain.counterparts.pairing import comparable, counterpart_pair, self_play_pair
from retrain.counterparts.rows import AnsweredQuestion, JudgedQuestion
from retrain.trainer.examples.rows import LabelRow, PairRow

PAIR = "pair"
"""The outcome of a question that gave a pair; the others are `Reason`s."""

Answers = Mapping[str, AnsweredQuestion]
Verdicts = Mapping[str, JudgedQuestion]


@dataclass(slots=True)
class SearchOutcome:
    """Pairs, and the number of labels and of self-play's pairs by what became of them."""

    pairs: list[PairRow] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    self_play: Counter[str] = field(default_factory=Counter)


def to_judge(drawn: DrawnQuestions, answers: Answers) -> Iterator[QuestionToJudge]:
    """Yield the questions with new answers that can be compared with the rated one."""
    for label in drawn.labels:
        answered = answers.get(label_question(label))
        found = "over_budget" if answered is None else comparable(answered, label)
        if isinstance(found, list) and answered is not None and answered.rated is not None:
            request = drawn.requests[label.interaction_id]
            yield QuestionToJudge(answered.id, request, answered.rated, found)


def outcome_of(
    drawn: DrawnQuestions, answers: Answers, verdicts: Verdicts, config: RetrainConfig
) -> SearchOutcome:
    """Return what became of each label and of each pair of self-play."""
    outcome = SearchOutcome(
        outcomes=Counter(drawn.left_out), self_play=Counter(drawn.self_left_out)
    )
    for label in drawn.labels:
        found = _of_label(label, answers, verdicts, config)
        _count(outcome, outcome.outcomes, found)
    for pair in drawn.pairs:
        _count(outcome, outcome.self_play, _of_pair(pair, answers, config))
    return outcome


def _count(outcome: SearchOutcome, counts: Counter[str], found: PairRow | Reason) -> None:
    if isinstance(found, PairRow):
        outcome.pairs.append(found)
        counts[PAIR] += 1
    else:
        counts[found] += 1


def _of_label(
    label: LabelRow, answers: Answers, verdicts: Verdicts, config: RetrainConfig
) -> PairRow | Reason:
    answered = answers.get(label_question(label))
    if answered is None:
        return "over_budget"
    found = comparable(answered, label)
    if not isinstance(found, list):
        return found
    judged = verdicts.get(answered.id)
    if judged is None:
        return "unjudged"
    return counterpart_pair(label, found, judged, config.counterparts, config.hyper.max_length)


def _of_pair(pair: PairRow, answers: Answers, config: RetrainConfig) -> PairRow | Reason:
    answered = answers.get(pair_question(pair))
    if answered is None:
        return "over_budget"
    return self_play_pair(pair, answered, config.self_play, config.hyper.max_length)
