"""Which judgements count: a rater's latest one on a subject, unless it was taken back.

Preferences are about two answers: the latest one on the same two counts, whichever of them it was
sent for and whether or not it says that one is better.

All readers of judgements (pairs, trials, comparisons, one interaction's feedback) use these
columns. They are window functions over the rows of the query that contains them, so that query must
select all judgements of a rater on a subject, including retractions, and none from after the time
of interest.

A retraction is a row of its own (`Feedback.retracts`). It takes back one judgement by id, or all
earlier ones of its rater on that answer by that metric; later judgements count again.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, exists, func, literal, or_
from sqlalchemy.orm import Mapped, aliased
from sqlmodel import col

from feedback.metrics.ordering import OUTCOMES
from feedback.models import Feedback, Interaction

ALL_EARLIER = ""
"""`Feedback.retracts` of a retraction of all earlier judgements; no judgement has this id."""
ANONYMOUS = "anonymous:"
_GAP = literal(" ")


def requester() -> ColumnElement[str]:
    """The requester: the request's user, else `anonymous:` and the thread."""
    return func.coalesce(col(Interaction.user), literal(ANONYMOUS) + col(Interaction.thread))


def rater() -> ColumnElement[str]:
    """The rater that the feedback names, else the requester."""
    return func.coalesce(col(Feedback.rater), requester())


def anonymous() -> ColumnElement[bool]:
    """Whether the rater is unknown.

    Feedback of a program that names no rater is not attributed to the request's user.
    """
    return and_(col(Feedback.rater).is_(None), col(Interaction.user).is_(None))


def later_judgements() -> ColumnElement[int]:
    """The number of later judgements of the same rater on the same subject."""
    newest_first = func.row_number().over(
        partition_by=(
            *_rater_key(),
            col(Feedback.metric_name),
            _subject(),
            col(Feedback.retracts).is_(None),
        ),
        order_by=_NEWEST_FIRST,
    )
    return newest_first - 1


def taken_back(until: datetime | None = None) -> ColumnElement[bool]:
    """Whether the rater has taken the judgement back, by `until` if given."""
    later = func.sum(case((col(Feedback.retracts) == ALL_EARLIER, 1), else_=0)).over(
        partition_by=(*_rater_key(), *_answer()), order_by=_NEWEST_FIRST, rows=(None, -1)
    )
    return or_(_named_by_a_retraction(until), func.coalesce(later, 0) > 0)


def _named_by_a_retraction(until: datetime | None) -> ColumnElement[bool]:
    other = aliased(Feedback)
    conditions = [
        col(other.tenant) == col(Feedback.tenant),
        col(other.retracts) == col(Feedback.id),
    ]
    if until is not None:
        conditions.append(col(other.received_at) <= until)
    return exists().where(*conditions)


_NEWEST_FIRST = (col(Feedback.received_at).desc(), col(Feedback.id).desc())


def _rater_key() -> tuple[ColumnElement[Any] | Mapped[Any], ...]:
    return (col(Feedback.tenant), col(Feedback.source), anonymous(), rater())


def _answer() -> tuple[ColumnElement[Any] | Mapped[Any], ...]:
    return (col(Feedback.interaction_id), col(Feedback.choice), col(Feedback.metric_name))


def _subject() -> ColumnElement[str]:
    """What a judgement is about: an answer, two answers (a preference), or itself (a comment).

    Judgements on different subjects do not supersede each other.
    """
    metric = col(Feedback.metric_name)
    one, other = _key(col(Feedback.interaction_id), col(Feedback.choice)), _other_side()
    return case(
        (
            and_(metric == "preference", col(Feedback.retracts).is_(None)),
            case((one < other, one + _GAP + other), else_=other + _GAP + one),
        ),
        (metric == "comment", col(Feedback.id)),
        else_=one,
    )


def _other_side() -> ColumnElement[str]:
    """The answer that a preference names."""
    value = col(Feedback.value)
    named = func.coalesce(*(value[outcome].as_string() for outcome in OUTCOMES))
    return _key(named, value["choice"].as_string())


def _key(identifier: Any, choice: Any) -> ColumnElement[str]:
    return cast(identifier, String) + _GAP + cast(choice, String)
