"""The server's rules for values of feedback, for the stand-in of `pawl_client.testing`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_OUTCOMES = ("over", "tie", "both_bad")
_THUMBS, _RATINGS = (True, False), range(1, 6)
_RANKED_LEAST, _RANKED_MAX = 2, 32
"""Answers in a ranking; the most are the server's default of `feedback.ranking_max`."""


def problem_of(body: Mapping[str, Any], metrics: Sequence[str]) -> str | None:
    """Return the field that the server would refuse, or None; `metrics` are custom ones."""
    metric, value = body.get("metric_name"), body.get("value")
    if metric in metrics:
        return None
    rule = _RULES.get(str(metric))
    if rule is None:
        return "metric_name"
    return None if value is None else rule(body, value)  # null takes back


def named_by(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids that a valid preference or ranking names."""
    value = body.get("value")
    if body.get("metric_name") == "preference" and value is not None:
        yield from (value[outcome] for outcome in _OUTCOMES if value.get(outcome) is not None)
    if body.get("metric_name") == "ranking" and value is not None:
        yield from (id_ for id_, _ in _answers(value))


def _fits(test: Callable[[Any], bool]) -> Callable[[Mapping[str, Any], Any], str | None]:
    return lambda _, value: None if test(value) else "value"


def _preference(body: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, dict) or not set(value) <= {*_OUTCOMES, "choice"}:
        return "value"
    said = [outcome for outcome in _OUTCOMES if value.get(outcome) is not None]
    if len(said) != 1 or not _is_answer(value[said[0]], value.get("choice")):
        return "value"
    same = (value[said[0]], value.get("choice") or 0) == _judged(body)
    return f"value.{said[0]}" if same else None


def _ranking(body: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, list):
        return "value"
    for place, entry in enumerate(value):
        problem = _place(f"value.{place}", entry)
        if problem is not None:
            return problem
    answers = _answers(value)
    fits = _RANKED_LEAST <= len(answers) == len(set(answers)) <= _RANKED_MAX
    judged = {body.get("inference_id")} if body.get("choice") is None else {_judged(body)}
    there = {id_ for id_, _ in answers} if body.get("choice") is None else set(answers)
    return None if fits and judged <= there else "value"


def _place(field: str, entry: Any) -> str | None:
    if not isinstance(entry, list):
        return None if _is_ranked(entry) else field
    if not entry or any(isinstance(inner, list) for inner in entry):
        return field
    wrong = (place for place, inner in enumerate(entry) if not _is_ranked(inner))
    return next((f"{field}.{place}" for place in wrong), None)


def _is_ranked(entry: Any) -> bool:
    if isinstance(entry, dict):
        return set(entry) <= {"id", "choice"} and _is_answer(entry.get("id"), entry.get("choice"))
    return _is_answer(entry, None)


def _is_answer(id_: Any, choice: Any) -> bool:
    whole = type(choice) in (int, float) and choice >= 0 and choice == int(choice)
    return isinstance(id_, str) and id_ != "" and (choice is None or whole)


def _judged(body: Mapping[str, Any]) -> tuple[Any, int]:
    return body.get("inference_id"), body.get("choice") or 0


def _answers(value: list[Any]) -> list[tuple[str, int]]:
    places = [one for place in value for one in (place if isinstance(place, list) else [place])]
    return [
        (one, 0) if isinstance(one, str) else (one["id"], one.get("choice") or 0) for one in places
    ]


_RULES: Mapping[str, Callable[[Mapping[str, Any], Any], str | None]] = {
    "thumbs": _fits(lambda value: any(value is thumb for thumb in _THUMBS)),
    "rating": _fits(lambda value: type(value) in (int, float) and value in _RATINGS),
    "comment": _fits(lambda value: isinstance(value, str)),
    "demonstration": _fits(lambda value: isinstance(value, str) and value != ""),
    "preference": _preference,
    "ranking": _ranking,
}
