"""Read answers and requests by the ids of their interactions, of any mode."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.database import Database
from feedback.reading.judgement_queries import answers_of, requests_of
from feedback.reading.judgements import LoggedAnswer, logged_answer

_CHUNK = 500


async def logged_answers(
    database: Database, ids: Sequence[str]
) -> Mapping[tuple[str, int], LoggedAnswer]:
    """Return the answers of these interactions, by id and choice.

    Interactions that are not in the database, or not yet, are left out.
    """
    found: dict[tuple[str, int], LoggedAnswer] = {}
    async with database.read() as session:
        connection = await session.connection()
        for start in range(0, len(ids), _CHUNK):
            rows = await connection.execute(answers_of(ids[start : start + _CHUNK]))
            answers = map(logged_answer, rows)
            found |= {(answer.interaction_id, answer.choice): answer for answer in answers}
    return found


async def logged_requests(database: Database, ids: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """Return the requests of these interactions by id; a removed one is empty."""
    found: dict[str, dict[str, Any]] = {}
    async with database.read() as session:
        connection = await session.connection()
        for start in range(0, len(ids), _CHUNK):
            rows = await connection.execute(requests_of(ids[start : start + _CHUNK]))
            found |= {row.id: row.request for row in rows}
    return found
