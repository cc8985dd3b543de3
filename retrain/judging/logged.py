"""Read the answers of an evaluation from the log, as a batch judge scores them: as token ids."""

import asyncio
from collections.abc import Mapping, Sequence

from common.database import Database
from common.retry import Sleep, with_retries
from feedback.reading.served_tokens import served_tokens
from retrain.evaluation.verdicts import ScoredItem

ATTEMPTS = 8
"""Reads of the log. It may lag behind: while the database is away, rows wait in the spool."""


class _IncompleteError(Exception):
    """Some answers are not in the log yet."""


async def logged_items(
    database: Database, ids: Sequence[str], *, sleep: Sleep = asyncio.sleep
) -> Mapping[str, ScoredItem]:
    """Return the token ids of these answers; waits a minute for those that are not there yet.

    Answers that never arrive, or whose token ids are unknown, are left out.
    """
    found: dict[str, ScoredItem] = {}

    async def read() -> None:
        missing = [name for name in ids if name not in found]
        for name, tokens in (await served_tokens(database, missing)).items():
            found[name] = ScoredItem(tokens.prompt_token_ids, tokens.token_ids)
        if len(found) < len(set(ids)):
            raise _IncompleteError

    try:
        await with_retries(read, attempts=ATTEMPTS, retry_on=_IncompleteError, sleep=sleep)
    except _IncompleteError:
        return found
    return found
