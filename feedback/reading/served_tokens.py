"""Read the token ids of answers by their interaction ids, as the engine received and sampled them.

The chat endpoint returns text. A judge that reads token ids, such as a reward model, needs what was
really sampled, since text may be tokenized in more than one way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import col, select

from common.database import Database
from feedback.models import Choice, Interaction
from feedback.records import unpack

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ServedTokens:
    """The token ids of one prompt and of the first answer to it."""

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


async def served_tokens(database: Database, ids: Sequence[str]) -> dict[str, ServedTokens]:
    """Return the token ids of the first answer of each interaction.

    Interactions that are not in the log (yet), or whose token ids are unknown, are left out.
    """
    found: dict[str, ServedTokens] = {}
    for start in range(0, len(ids), _CHUNK):
        found |= await _read(database, ids[start : start + _CHUNK])
    return found


async def _read(database: Database, ids: Sequence[str]) -> dict[str, ServedTokens]:
    query = (
        select(col(Interaction.id), col(Interaction.prompt_token_ids), col(Choice.token_ids))
        .join(Choice, col(Choice.interaction_id) == col(Interaction.id))
        .where(col(Interaction.id).in_(ids), col(Choice.index) == 0)
    )
    async with database.read() as session:
        rows = (await session.exec(query)).all()
    return {
        name: ServedTokens(tuple(unpack(prompt)), tuple(unpack(answer)))
        for name, prompt, answer in rows
        if prompt and answer
    }
