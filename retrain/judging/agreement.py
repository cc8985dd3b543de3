"""Hold a judge against what held-out people said."""

import random
from collections.abc import Sequence

from retrain.dataset.held_out_judgements import HeldOutAnswer, JudgedLabel, JudgedPair
from retrain.evaluation.answers import JudgedAnswer, Question
from retrain.evaluation.judges import JudgeError
from retrain.evaluation.verdicts import AnswerPair, AnyJudge, BatchJudge, ScoredItem, verdicts
from retrain.gates.judge_agreement import Calibration
from retrain.judging.ranking import Rated

PREFERENCE = {"a": 1.0, "b": 0.0, "tie": 0.5}


async def calibrations(
    judge: AnyJudge, pairs: Sequence[JudgedPair], *, most: int, seed: int, concurrency: int
) -> list[Calibration]:
    """Have the judge make the comparisons that held-out people made; those it cannot are left out.

    Args:
        judge: The judge.
        pairs: What people compared.
        most: Comparisons to make, at most; from more a sample is drawn with `seed`.
        seed: Of the sample.
        concurrency: Pairs that are compared at the same time.

    """
    usable = [pair for pair in pairs if pair.messages or isinstance(judge, BatchJudge)]
    chosen = _sampled(usable, most, seed)
    found = await verdicts(judge, [_answer_pair(row) for row in chosen], concurrency=concurrency)
    return [
        _calibration(row, verdict)
        for row, verdict in zip(chosen, found, strict=True)
        if not isinstance(verdict, JudgeError)
    ]


def people_only(pairs: Sequence[JudgedPair]) -> list[Calibration]:
    """Return people's comparisons without a judge's, to hold people against each other."""
    return [_calibration(row, 0.5) for row in pairs]


async def rated(judge: BatchJudge, labels: Sequence[JudgedLabel]) -> list[Rated]:
    """Score the answers that held-out people rated. Raises `JudgeError`."""
    if not labels:
        return []
    items = [_item(row.prompt_token_ids, row.answer) for row in labels]
    scores = await judge.score(items)
    return [Rated(row.rater, score, row.good) for row, score in zip(labels, scores, strict=True)]


def of_versions(pairs: Sequence[JudgedPair], versions: set[str]) -> list[JudgedPair]:
    """Return the comparisons of answers of exactly these versions, such as live and candidate."""
    return [pair for pair in pairs if {pair.a.version, pair.b.version} == versions]


def _sampled(pairs: Sequence[JudgedPair], most: int, seed: int) -> list[JudgedPair]:
    ordered = sorted(pairs, key=lambda pair: pair.id)
    if len(ordered) <= most:
        return ordered
    return random.Random(seed).sample(ordered, most)


def _answer_pair(row: JudgedPair) -> AnswerPair:
    return AnswerPair(
        Question(row.messages or [], row.tools or ()),
        _judged_answer(row.a),
        _judged_answer(row.b),
        _item(row.prompt_token_ids, row.a),
        _item(row.prompt_token_ids, row.b),
    )


def _judged_answer(answer: HeldOutAnswer) -> JudgedAnswer:
    return JudgedAnswer(answer.parts, "length" if answer.truncated else "stop")


def _item(prompt: Sequence[int], answer: HeldOutAnswer) -> ScoredItem:
    return ScoredItem(prompt, answer.token_ids)


def _calibration(row: JudgedPair, verdict: float) -> Calibration:
    """Return both verdicts on a pair whose answers are put into an order of their own.

    Which answer is `a` depends on their ids, so that two people may see the same texts either way.
    """
    person = PREFERENCE[row.winner]
    turned = _content(row.a) > _content(row.b)
    return Calibration(
        rater=row.rater,
        pair=row.subject,
        person=1 - person if turned else person,
        judge=1 - verdict if turned else verdict,
    )


def _content(answer: HeldOutAnswer) -> tuple[str, tuple[tuple[str, str], ...]]:
    return answer.text, tuple((call.name, call.arguments) for call in answer.calls)
