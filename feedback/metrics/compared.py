"""Checks the values that compare answers, preferences and rankings. Pure.

Each check returns the value's normal form and the answers that it refers to, the judged one first.
A normal form is itself a value that is accepted, and is left as it is. Errors are
`InvalidInputError`s that name the field; `feedback/metrics/ordering.py` reads the normal forms.
"""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from feedback.errors import InvalidInputError
from feedback.metrics.ordering import OUTCOMES
from feedback.records import Subject
from feedback.schemas import Name, PreferenceValue, RankedAnswer

Checked = tuple[Any, tuple[Subject, ...]]

_ENTRY = TypeAdapter[RankedAnswer | str](RankedAnswer | Name)


def check_preference(value: Any, judged: Subject) -> Checked:
    """Check `{"over" | "tie" | "both_bad": id, "choice"?: index}`; fills in the choice."""
    outcome, other = _other_side(value)
    if (other.id, other.choice) == (judged.id, judged.choice):
        raise InvalidInputError.of(f"value.{outcome}", "must be another answer than the judged one")
    return {outcome: other.id, "choice": other.choice}, (judged, other)


def check_ranking(value: Any, judged: Subject, limit: int) -> Checked:
    """Check a list of answers, best first, in which a list is a group of equally good ones.

    In the normal form each answer is `{"id", "choice"}`, and a group has at least two of them.
    """
    if not isinstance(value, list):
        raise InvalidInputError.of("value", f"must be a list of 2 to {limit} answers, best first")
    groups = [_group(f"value.{place}", entry) for place, entry in enumerate(value[: limit + 1])]
    places = [answer for group in groups for answer in group]
    if len(value) > limit or not 2 <= len(places) <= limit:  # noqa: PLR2004
        raise InvalidInputError.of("value", f"must be a list of 2 to {limit} answers, best first")
    if len({(place.id, place.choice) for place in places}) < len(places):
        raise InvalidInputError.of("value", "must not name an answer twice")
    first = _judged_place(places, judged)
    others = [place for place in places if place is not first]
    return [_normal(group) for group in groups], (first, *others)


def _other_side(value: Any) -> tuple[str, Subject]:
    """Return what a preference says, and of which other answer."""
    try:
        given = PreferenceValue.model_validate(value)
    except (ValidationError, RecursionError):
        expected = 'must be {"over": <id>}, {"tie": <id>} or {"both_bad": <id>}, each with "choice"'
        raise InvalidInputError.of("value", f"{expected} where there are several") from None
    said = {name: id_ for name in OUTCOMES if (id_ := getattr(given, name)) is not None}
    if len(said) != 1:
        raise InvalidInputError.of("value", f"must have exactly one of {', '.join(OUTCOMES)}")
    outcome, id_ = said.popitem()
    named = given.choice is not None
    return outcome, Subject("value.choice", id_, given.choice or 0, named=named)


def _group(field: str, entry: Any) -> list[Subject]:
    if not isinstance(entry, list):
        return [_place(field, entry)]
    if not entry:
        raise InvalidInputError.of(field, "must not be an empty group")
    if any(isinstance(inner, list) for inner in entry):
        raise InvalidInputError.of(field, "must not hold another group: groups do not nest")
    return [_place(f"{field}.{place}", inner) for place, inner in enumerate(entry)]


def _place(field: str, entry: Any) -> Subject:
    try:
        given = _ENTRY.validate_python(entry, strict=True)
    except (ValidationError, RecursionError):
        expected = 'must be an id, {"id": <id>, "choice": <index>}, or a list of these that tie'
        raise InvalidInputError.of(field, expected) from None
    answer = RankedAnswer(id=given) if isinstance(given, str) else given
    return Subject(field, answer.id, answer.choice or 0, named=answer.choice is not None)


def _judged_place(places: list[Subject], judged: Subject) -> Subject:
    for place in places:
        if place.id == judged.id and (not judged.named or place.choice == judged.choice):
            return place
    raise InvalidInputError.of(
        "value", "must contain inference_id, with its choice if one is given"
    )


def _normal(group: list[Subject]) -> Any:
    answers = [{"id": answer.id, "choice": answer.choice} for answer in group]
    return answers if len(answers) > 1 else answers[0]
