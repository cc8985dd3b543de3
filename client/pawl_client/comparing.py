"""Values of the feedback that compares answers: preferences and rankings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

Outcome = Literal["over", "tie", "both_bad"]
"""Kinds of preference: the other answer is worse, as good, or both are bad."""

Answer: TypeAlias = str | tuple[str, int]
"""An id, or an id and the index of the choice."""

Ranking: TypeAlias = Sequence[Answer | list[Any]]
"""Answers, best first; a list of answers inside it holds equally good ones."""


def preference(outcome: Outcome, other: str, other_choice: int | None) -> dict[str, Any]:
    """Return the value of the metric `preference`."""
    return {outcome: other, **({} if other_choice is None else {"choice": other_choice})}


def ranking(answers: Ranking) -> list[Any]:
    """Return the value of the metric `ranking`."""
    return [
        [_ranked(one) for one in place] if isinstance(place, list) else _ranked(place)
        for place in answers
    ]


def first_of(answers: Ranking) -> Answer | None:
    """Return the first answer of a ranking, which the feedback is sent for; None if it is empty."""
    for place in answers:
        for answer in place if isinstance(place, list) else [place]:
            return answer
    return None


def with_ids(value: Any, id_of: Callable[[str], str | None]) -> Any:
    """Return a preference or ranking of runs as one of interactions.

    `id_of` returns a run's interaction id. The result is None if it is not known for each run.
    """
    try:
        return _replaced(value, id_of)
    except KeyError:
        return None


def _ranked(answer: Answer) -> Mapping[str, Any] | str:
    return answer if isinstance(answer, str) else {"id": answer[0], "choice": answer[1]}


def _replaced(value: Any, id_of: Callable[[str], str | None]) -> Any:
    if isinstance(value, list):
        return [_replaced(place, id_of) for place in value]
    if isinstance(value, Mapping):
        return {
            key: inner if key == "choice" else _replaced(inner, id_of)
            for key, inner in value.items()
        }
    known = id_of(value)
    if known is None:
        raise KeyError(value)
    return known
