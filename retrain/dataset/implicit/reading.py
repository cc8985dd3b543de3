"""Read users' next messages, within bounds, and keep what was read.

The verdicts are kept in a file, so that a run that is resumed asks for none of them twice, and a
run can be repeated with the same ones.
"""

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from retrain.config import SignalsConfig
from retrain.dataset.implicit.pending import PendingLabel
from retrain.dataset.judged import Key
from retrain.errors import JudgeError
from retrain.ports import MessageReader

_PROGRESS = 100
"""Messages after which progress is logged."""
_log = structlog.get_logger()


class ReadMessage(BaseModel):
    """A verdict on the message after an answer: -1 (rejected) to 1 (accepted).

    `read_in` is the id of the request that contains the message.
    """

    model_config = ConfigDict(frozen=True)

    interaction_id: str
    choice: int
    read_in: str
    value: float


class DrawnMessages:
    """A uniform sample of at most `limit` answers whose next message is read.

    It keeps a place (such as an offset in a file) for each, in the order of a seeded hash.
    """

    def __init__(self, limit: int, seed: int) -> None:
        self.seen = 0
        self._limit, self._seed = limit, seed
        self._heap: list[tuple[int, int]] = []

    def add(self, pending: PendingLabel, place: int) -> None:
        """Take a further candidate."""
        self.seen += 1
        entry = (-self._rank(pending.key), place)
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def places(self) -> list[int]:
        """Return the places of the sample."""
        return [place for _, place in sorted(self._heap, reverse=True)]

    def _rank(self, key: Key) -> int:
        digest = blake2b(f"{self._seed}:{key[0]}:{key[1]}".encode(), digest_size=8)
        return int.from_bytes(digest.digest())


@dataclass(slots=True)
class MessageReading:
    """Has next messages read, within the limits of the settings.

    Attributes:
        reader: What reads them.
        config: The limits.
        kept: File of the verdicts; those that are in it are not asked for again.
        verdicts: What was read, by answer.
        failed: The answers for which the reader gave no verdict.

    """

    reader: MessageReader
    config: SignalsConfig
    kept: Path
    verdicts: dict[Key, float] = field(default_factory=dict)
    failed: set[Key] = field(default_factory=set)

    async def read(self, messages: Iterable[PendingLabel], of: int) -> None:
        """Read the messages, `of` in number; stop at the limit in seconds."""
        known = {one.read_in: one for one in kept_messages(self.kept)}
        waiting = iter(messages)
        with self.kept.open("ab") as file:
            try:
                async with asyncio.timeout(self.config.seconds), asyncio.TaskGroup() as group:
                    for _ in range(self.config.concurrency):
                        group.create_task(self._work(waiting, known, file, of))
            except TimeoutError:
                _log.warning("messages_unread", read=len(self.verdicts), of=of)

    async def _work(
        self,
        waiting: Iterator[PendingLabel],
        known: Mapping[str, ReadMessage],
        file: BinaryIO,
        of: int,
    ) -> None:
        """Read one message after the other, until none is left for any worker."""
        for pending in waiting:
            found = known.get(pending.read_in or "")
            if found is None:
                found = await self._ask(pending)
                if found is None:
                    continue
                file.write(found.model_dump_json().encode() + b"\n")
                file.flush()
            self.verdicts[pending.key] = found.value
            if len(self.verdicts) % _PROGRESS == 0:
                _log.info("messages_read", read=len(self.verdicts), of=of)

    async def _ask(self, pending: PendingLabel) -> ReadMessage | None:
        """Ask the reader; note a failure and return None."""
        try:
            value = await self.reader.read(
                pending.messages, pending.parts, pending.next_message or ""
            )
        except JudgeError as error:
            _log.warning("message_not_read", error=str(error))
            self.failed.add(pending.key)
            return None
        return ReadMessage(
            interaction_id=pending.interaction_id,
            choice=pending.choice,
            read_in=pending.read_in or "",
            value=value,
        )


def kept_messages(path: Path) -> Iterator[ReadMessage]:
    """Yield the verdicts in a file; a line that was cut off by a crash is skipped."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            with suppress(ValidationError):
                yield ReadMessage.model_validate_json(line)
