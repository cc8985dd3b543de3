"""Validates judgements before they are stored. Pure.

A judgement is checked against its metric's definition, and then against the answers it refers to,
if the log has them already. Errors name the field and contain no input values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from common.json_values import whole_number
from feedback.config import BUILT_IN_METRICS, FeedbackConfig, MetricConfig
from feedback.errors import InvalidInputError
from feedback.names import check_length
from feedback.records import Subject
from feedback.schemas import FeedbackIn, PreferenceValue, RankedAnswer

_INTEGER_LIMIT = 2**63
_RANKING = TypeAdapter(list[RankedAnswer | str])


@dataclass(frozen=True, slots=True)
class CheckedFeedback:
    """A checked judgement in its normal form; the value None takes back earlier judgements.

    The value of a preference is `{"over": id, "choice": index}` and of a ranking a list of
    `{"id": id, "choice": index}`, all choices filled in. The first subject is the judged answer.
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
            return _preference(feedback.value, judged)
        case "ranking":
            return _ranking(feedback.value, judged, config.ranking_max)
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


def _preference(value: Any, judged: Subject) -> CheckedFeedback:
    try:
        over = PreferenceValue.model_validate(value)
    except (ValidationError, RecursionError):
        expected = 'must be {"over": <id>} or {"over": <id>, "choice": <index>}'
        raise InvalidInputError.of("value", expected) from None
    other = Subject("value.choice", over.over, over.choice or 0, named=over.choice is not None)
    if (other.id, other.choice) == (judged.id, judged.choice):
        raise InvalidInputError.of("value.over", "must be another answer than the one preferred")
    return CheckedFeedback({"over": other.id, "choice": other.choice}, (judged, other))


def _ranking(value: Any, judged: Subject, limit: int) -> CheckedFeedback:
    if not isinstance(value, list) or not 2 <= len(value) <= limit:  # noqa: PLR2004
        raise InvalidInputError.of("value", f"must be a list of 2 to {limit} answers, best first")
    places = _places(value)
    if len({(place.id, place.choice) for place in places}) < len(places):
        raise InvalidInputError.of("value", "must not name an answer twice")
    first = _judged_place(places, judged)
    others = [place for place in places if place is not first]
    ranked = [{"id": place.id, "choice": place.choice} for place in places]
    return CheckedFeedback(ranked, (first, *others))


def _places(value: list[Any]) -> list[Subject]:
    try:
        entries = _RANKING.validate_python(value, strict=True)
        ranked = [RankedAnswer(id=entry) if isinstance(entry, str) else entry for entry in entries]
    except (ValidationError, RecursionError):
        expected = 'must list ids or {"id": <id>, "choice": <index>} objects'
        raise InvalidInputError.of("value", expected) from None
    return [
        Subject(f"value.{place}", entry.id, entry.choice or 0, named=entry.choice is not None)
        for place, entry in enumerate(ranked)
    ]


def _judged_place(places: list[Subject], judged: Subject) -> Subject:
    for place in places:
        if place.id == judged.id and (not judged.named or place.choice == judged.choice):
            return place
    raise InvalidInputError.of(
        "value", "must contain inference_id, with its choice if one is given"
    )
