"""The database's clock: the only one that servers on several machines may compare."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement, Select
from sqlmodel.sql.sqltypes import UTCDateTime


class _Now(FunctionElement[datetime]):
    """The moment at which the statement runs, in UTC."""

    type = UTCDateTime()
    inherit_cache = True
    name = "now"


@compiles(_Now, "postgresql")
def _on_postgresql(_element: _Now, _compiler: Any, **_options: Any) -> str:
    return "clock_timestamp()"


@compiles(_Now, "sqlite")
def _on_sqlite(_element: _Now, _compiler: Any, **_options: Any) -> str:
    # As SQLAlchemy stores a moment: six digits behind the point.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


def select_now() -> Select[Any]:
    """Ask for the time now; `moment` reads the answer."""
    return select(_Now())


def moment(answer: object) -> datetime:
    """The time, aware, in UTC."""
    assert isinstance(answer, datetime)  # noqa: S101  (no row is no answer)
    return answer
