"""The database's clock, which servers on several machines use to compare times."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement, Select
from sqlmodel.sql.sqltypes import UTCDateTime


class _Now(FunctionElement[datetime]):
    """The time at which the statement runs, in UTC."""

    type = UTCDateTime()
    inherit_cache = True
    name = "now"


@compiles(_Now, "postgresql")
def _on_postgresql(_element: _Now, _compiler: Any, **_options: Any) -> str:
    return "clock_timestamp()"


@compiles(_Now, "sqlite")
def _on_sqlite(_element: _Now, _compiler: Any, **_options: Any) -> str:
    # SQLAlchemy stores datetimes with six decimal places.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


def select_now() -> Select[Any]:
    """Return the query for the database's current time; pass its scalar to `moment`."""
    return select(_Now())


def moment(answer: object) -> datetime:
    """Return the result of `select_now` as an aware datetime in UTC."""
    assert isinstance(answer, datetime)  # noqa: S101  (narrows the type)
    return answer
