"""Implicit labels, read from the log.

First the signs are collected in a temporary file, so that no transaction is open while messages are
read. Then a sample of the next messages is read, and the labels are yielded.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from common.database import Database
from feedback.reading.follow_up_log import FollowedConversation, FollowUpLog
from feedback.reading.follow_ups import Tracking
from feedback.reading.judgement_queries import LogWindow
from retrain.config import RetrainConfig, SignalsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.implicit.pending import PendingLabel, label_of, pending_labels
from retrain.dataset.implicit.reading import DrawnMessages, MessageReading
from retrain.dataset.implicit.signs import SignRules, signs_of
from retrain.dataset.judged import Key
from retrain.dataset.labels import Label
from retrain.dataset.pairs import PairsResult
from retrain.ports import MessageReader
from retrain.signal_figures import SignalFigures


@dataclass(slots=True)
class ImplicitLog:
    """Reads implicit labels.

    Attributes:
        database: The log.
        window: The part of the log that a run reads.
        config: The run's settings.
        base_fingerprint: Answers of another base model are left out.
        reader: Reads next messages. None: they are only counted, as in a dry run.
        kept: File in which the reader's verdicts are kept; required with a reader.

    """

    database: Database
    window: LogWindow
    config: RetrainConfig
    base_fingerprint: str
    reader: MessageReader | None = None
    kept: Path | None = None

    async def results(self, paired: Set[Key] = frozenset()) -> AsyncIterator[PairsResult]:
        """Yield labels, and what was left out; the first result has the figures.

        Does nothing if no signal is used. The answers `paired` are in pairs already: what people
        said of them outweighs.
        """
        signals = self.config.signals
        if not signals.used:
            return
        with TemporaryDirectory(prefix="pawl-") as folder, _Pending(Path(folder)) as pending:
            drawn = DrawnMessages(signals.messages, self.config.seed)
            left_out = await self._collect(pending, drawn, paired)
            reading = await self._read(pending, drawn)
            figures = _figures(signals, pending, drawn, reading)
            yield PairsResult([], left_out, signals=figures)
            for one in pending.all():
                left_out = Counter()
                label = _label(one, reading, signals, left_out)
                yield PairsResult([], left_out, [label] if label else [])

    async def _collect(
        self, pending: "_Pending", drawn: DrawnMessages, paired: Set[Key]
    ) -> Counter[str]:
        """Write all signs to a file; return what was left out."""
        log = FollowUpLog(self.database, self.window, self._tracking())
        rules = SignRules.of(self.config, self.window.since, self.base_fingerprint)
        left_out: Counter[str] = Counter()
        async for followed in log.conversations():
            known = replace(followed, judged=followed.judged | _among(followed, paired))
            for one in pending_labels(followed, signs_of(known, rules, left_out)):
                place = pending.write(one)
                if one.next_message is not None:
                    drawn.add(one, place)
        left_out[Filter.UNMATCHED] += log.unmatched if rules.next_messages else 0
        return +left_out

    def _tracking(self) -> Tracking:
        signals = self.config.signals
        return Tracking(
            within=timedelta(seconds=signals.within_seconds),
            repeated=signals.repeated > 0,
            next_messages=signals.next_message > 0,
        )

    async def _read(self, pending: "_Pending", drawn: DrawnMessages) -> MessageReading | None:
        if self.reader is None or self.kept is None:
            return None
        places = drawn.places()
        reading = MessageReading(self.reader, self.config.signals, self.kept)
        await reading.read(pending.at(places), len(places))
        return reading


class _Pending:
    """A temporary file of pending labels."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "pending.jsonl"
        self._file: BinaryIO = self._path.open("w+b")
        self.repeated: Counter[str] = Counter()

    def __enter__(self) -> "_Pending":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, one: PendingLabel) -> int:
        """Append a label; return its place."""
        place = self._file.tell()
        self._file.write(one.model_dump_json().encode() + b"\n")
        if one.repeated:
            self.repeated["in_favour" if one.repeated > 0 else "against"] += 1
        return place

    def at(self, places: Sequence[int]) -> Iterator[PendingLabel]:
        """Yield the labels at these places."""
        self._file.flush()
        with self._path.open("rb") as lines:
            for place in places:
                lines.seek(place)
                yield PendingLabel.model_validate_json(lines.readline())

    def all(self) -> Iterator[PendingLabel]:
        """Yield all labels, in the order in which they were written."""
        self._file.flush()
        with self._path.open("rb") as lines:
            for line in lines:
                yield PendingLabel.model_validate_json(line)


def _label(
    one: PendingLabel,
    reading: MessageReading | None,
    signals: SignalsConfig,
    left_out: Counter[str],
) -> Label | None:
    """Return the label of an answer; an unread message is counted, and says nothing."""
    read = None if reading is None else reading.verdicts.get(one.key)
    if one.next_message is not None and read is None:
        failed = reading is not None and one.key in reading.failed
        left_out[Filter.READER_FAILED if failed else Filter.UNREAD] += 1
        if not one.repeated:
            return None
    return label_of(one, read, signals, left_out)


def _figures(
    signals: SignalsConfig,
    pending: _Pending,
    drawn: DrawnMessages,
    reading: MessageReading | None,
) -> SignalFigures:
    values = [] if reading is None else list(reading.verdicts.values())
    failed = 0 if reading is None else len(reading.failed)
    messages = {
        "found": drawn.seen,
        "to_read": min(drawn.seen, signals.messages),
        "accepted": sum(value > 0 for value in values),
        "rejected": sum(value < 0 for value in values),
        "neutral": sum(value == 0 for value in values),
        "failed": failed,
        "unread": drawn.seen - len(values) - failed,
    }
    weights = {"repeated": signals.repeated, "next_message": signals.next_message}
    return SignalFigures(weights=weights, repeated=dict(pending.repeated), messages=messages)


def _among(followed: FollowedConversation, answers: Set[Key]) -> set[Key]:
    """Return those of `answers` that are in the conversation."""
    keys = {(answer.interaction_id, answer.choice) for answer in followed.answers}
    return keys & answers
