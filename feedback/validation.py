"""Validates judgements before they are stored. Pure.

A judgement is checked against its metric's definition, and then against the answers it refers to,
if the log has them already. Errors name the field and contain no input values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.json_values import whole_number
from feedback.config import BUILT_IN_METRICS, FeedbackConfig, MetricConfig
from feedback.errors import InvalidInputError
from feedback.metrics.compared import check_preference, check_ranking
from feedback.names import check_length
from feedback.records import Subject
from feedback.schemas import FeedbackIn

_INTEGER_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class CheckedFeedback:
    """A checked judgement in its normal form; the value None takes back earlier judgements.

    The value of a preference is `{"over": id, "choice": index}`, or the same with `tie` or
    `both_bad`. That of a ranking is a list of `{"id": id, "choice": index}` and of lists of two or
    more of them, which are equally good. All choices are filled in. The first subject is the judged
    answer.
    """

    value: Any
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class StoredAnswers:
    """What the log has of one interaction: its conversation, number of choices and version.

    The version is None where `feedback.visibility` hides it, since counts by version reveal it.
    """

    conversation: str
    choices: int
    version: str | None


def check(feedback: FeedbackIn, config: FeedbackConfig) -> CheckedFeedback:
    """Check a judgement without the log. Raises `InvalidInputError`.

    The value null, of any metric, takes back earlier judgements.
    """
    _check_lengths(feedback, config)
    judged = Subject(
        "choice", feedback.inference_id, feedback.choice or 0, named=feedback.choice is not None
    )
    if feedback.value is None:
        _check_metric(feedback.metric_name, config)
        return CheckedFeedback(None, (judged,))
    match feedback.metric_name:
        case "preference":
            return CheckedFeedback(*check_preference(feedback.value, judged))
        case "ranking":
            return CheckedFeedback(*check_ranking(feedback.value, judged, config.ranking_max))
        case name:
            return CheckedFeedback(_checker(name, config)(feedback.value), (judged,))


def check_against_log(subjects: Sequence[Subject], stored: Mapping[str, StoredAnswers]) -> None:
    """Check a judgement's answers against the interactions that are stored.

    Interactions that are not stored yet are checked by the join later. Raises `InvalidInputError`
    for a choice that does not exist, one that is required but missing, or answers to different
    conversations.
    """
    for subject in subjects:
        answers = stored.get(subject.id)
        if answers is not None and subject.choice >= answers.choices:
            raise InvalidInputError.of(subject.field, "there is no such choice")
        if answers is not None and answers.choices > 1 and not subject.named:
            raise InvalidInputError.of(subject.field, "say which choice: there are several")
    known = {stored[subject.id].conversation for subject in subjects if subject.id in stored}
    if len(known) > 1:
        raise InvalidInputError.of("value", "the answers belong to different conversations")


def check_tags(tags: Mapping[str, str], config: FeedbackConfig) -> None:
    """Raise `InvalidInputError` for too many or too long tags."""
    if len(tags) > config.tags_max:
        raise InvalidInputError.of("tags", f"must have at most {config.tags_max} entries")
    for key, value in tags.items():
        check_length("tags", key, config.name_max)
        check_length("tags", value, config.name_max)


def _check_lengths(feedback: FeedbackIn, config: FeedbackConfig) -> None:
    check_length("id", feedback.id, config.name_max)
    check_length("rater", feedback.rater, config.name_max)
    check_length("rationale", feedback.rationale, config.text_max)
    check_tags(feedback.tags, config)


def _checker(name: str, config: FeedbackConfig) -> Callable[[Any], Any]:
    match name:
        case "thumbs":
            return _boolean
        case "rating":
            return _rating
        case "comment":
            return lambda value: _text(value, config.text_max)
        case "demonstration":
            return lambda value: _text(value, config.demonstration_max)
    _check_metric(name, config)
    return lambda value: _configured(value, config.metrics[name], config)


def _check_metric(name: str, config: FeedbackConfig) -> None:
    if name not in BUILT_IN_METRICS and name not in config.metrics:
        raise InvalidInputError.of("metric_name", "no such metric; define it in the settings first")


def _configured(value: Any, metric: MetricConfig, config: FeedbackConfig) -> Any:
    match metric.type:
        case "boolean":
            return _boolean(value)
        case "number":
            return _number(value, metric)
        case "text":
            return _text(value, config.text_max)
        case "category":
            if not isinstance(value, str) or value not in metric.values:
                raise InvalidInputError.of("value", "must be one of the metric's values")
            return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError.of("value", "must be true or false")
    return value


def _rating(value: Any) -> int:
    value = whole_number(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 5:  # noqa: PLR2004
        raise InvalidInputError.of("value", "must be a whole number from 1 to 5")
    return value


def _number(value: Any, metric: MetricConfig) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError.of("value", "must be a number")
    if not math.isfinite(value) if isinstance(value, float) else abs(value) >= _INTEGER_LIMIT:
        raise InvalidInputError.of("value", "must be a finite number of at most 64 bits")
    if metric.min is not None and value < metric.min:
        raise InvalidInputError.of("value", f"must be at least {metric.min:g}")
    if metric.max is not None and value > metric.max:
        raise InvalidInputError.of("value", f"must be at most {metric.max:g}")
    return value


def _text(value: Any, limit: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError.of("value", "must be a text that is not empty")
    check_length("value", value, limit)
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInputError.of("value", "must be Unicode text without NUL characters")
    return value
