"""Which of a rater's words count: the last one on a thing, unless it was taken back.

Everything that reads words (pairs, trials, comparisons, one interaction's feedback) asks here. The
columns are window functions over the rows of the query that they stand in: that query must hold
all words of a rater on a thing, retractions too, and no words from after the moment it looks at.

A retraction is a row of its own (`Feedback.retracts`). It names one word, or is said of all that
its rater has said by that metric of that answer; what the rater says after it counts again.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, exists, func, literal, or_
from sqlalchemy.orm import Mapped, aliased
from sqlmodel import col

from feedback.models import Feedback, Interaction

ALL_EARLIER = ""
"""`Feedback.retracts` of a retraction that names no word; no word has this id."""
ANONYMOUS = "anonymous:"


def asker() -> ColumnElement[str]:
    """Who asked: the request's user, else a name for the conversation's beginning."""
    return func.coalesce(col(Interaction.user), literal(ANONYMOUS) + col(Interaction.thread))


def rater() -> ColumnElement[str]:
    """Who judged: whoever the word names, else who asked."""
    return func.coalesce(col(Feedback.rater), asker())


def anonymous() -> ColumnElement[bool]:
    """Whether nobody names the rater.

    What a program says of a request without naming a rater is not the word of the request's user.
    """
    return and_(col(Feedback.rater).is_(None), col(Interaction.user).is_(None))


def later_words() -> ColumnElement[int]:
    """How many later words their rater has said on the same thing."""
    newest_first = func.row_number().over(
        partition_by=(*_speaker(), *_answer(), _subject(), col(Feedback.retracts).is_(None)),
        order_by=_NEWEST_FIRST,
    )
    return newest_first - 1


def taken_back(until: datetime | None = None) -> ColumnElement[bool]:
    """Whether the rater has taken the word back by `until` (None: by now)."""
    later = func.sum(case((col(Feedback.retracts) == ALL_EARLIER, 1), else_=0)).over(
        partition_by=(*_speaker(), *_answer()), order_by=_NEWEST_FIRST, rows=(None, -1)
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


def _speaker() -> tuple[ColumnElement[Any] | Mapped[Any], ...]:
    return (col(Feedback.tenant), col(Feedback.source), anonymous(), rater())


def _answer() -> tuple[ColumnElement[Any] | Mapped[Any], ...]:
    return (col(Feedback.interaction_id), col(Feedback.choice), col(Feedback.metric_name))


def _subject() -> ColumnElement[str]:
    """What tells two words on one answer apart.

    Preferences of an answer over two others are two words, and comments add up.
    """
    metric = col(Feedback.metric_name)
    return case(
        (metric == "preference", cast(col(Feedback.value), String)),
        (metric == "comment", col(Feedback.id)),
        else_="",
    )
