"""Writing rows in groups, so that one that is refused fails alone."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from feedback.outage import is_outage

Row = TypeVar("Row")
Result = TypeVar("Result")


async def written(
    rows: Sequence[Row],
    write: Callable[[Sequence[Row]], Awaitable[Sequence[Result]]],
    refuse: Callable[[Row, Exception], Result],
) -> list[Result]:
    """What `write` makes of the rows; where it refuses a group, of its halves, down to the row.

    A row that is refused alone is given to `refuse`. Raises what `is_outage` calls one.
    """
    try:
        return list(await write(rows))
    except Exception as error:
        if is_outage(error):
            raise
        if len(rows) == 1:
            return [refuse(rows[0], error)]
    middle = len(rows) // 2
    first = await written(rows[:middle], write, refuse)
    return first + await written(rows[middle:], write, refuse)
