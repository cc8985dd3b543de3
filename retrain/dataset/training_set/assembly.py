"""Assemble the rows of a training set from their sources, and count them.

Memory holds the ids of pairs and a hash of each of their answers, not the texts.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

from common.files import LineWriter
from retrain.config import RetrainConfig
from retrain.dataset.plan import Counts
from retrain.dataset.snapshot import SnapshotManifest
from retrain.dataset.training_set.shares import FRESH, admitted, drawn, share_of
from retrain.trainer.examples.rows import CompletionRow, LabelRow, PairRow

PAIRS, LABELS = "pairs.jsonl", "labels.jsonl"
IN_A_PAIR, NOT_HERE = "in_a_pair", "earlier_runs_not_here"


@dataclass(frozen=True, slots=True)
class EarlierPairs:
    """The pairs of an earlier run: their file, and the time of its oldest text."""

    path: Path
    oldest_text: datetime | None


@dataclass(frozen=True, slots=True)
class Sources:
    """What a training set is made of.

    Attributes:
        snapshot: Folder of the run's snapshot.
        manifest: The snapshot's manifest.
        made: Pairs that the run made itself; None if it made none.
        earlier: Pairs of earlier runs.
        missing: Number of earlier runs whose pairs are not on this machine or of another model.

    """

    snapshot: Path
    manifest: SnapshotManifest
    made: Path | None = None
    earlier: Sequence[EarlierPairs] = ()
    missing: int = 0


@dataclass(slots=True)
class Assembly:
    """A training set in the making: what is in it already, in numbers and hashes."""

    sources: Sources
    config: RetrainConfig
    by_origin: Counter[str] = field(default_factory=Counter)
    by_signal: Counter[str] = field(default_factory=Counter)
    labels: Counter[bool] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    demonstrations: int = 0
    sides: Counter[bool] = field(default_factory=Counter)
    ids: set[str] = field(default_factory=set)
    answers: set[bytes] = field(default_factory=set)
    oldest: list[datetime] = field(default_factory=list)

    def add_own(self, writer: LineWriter) -> None:
        """Add the snapshot's pairs, and as many of the run's own as their shares allow."""
        for line, row in _pairs(self.sources.snapshot / PAIRS):
            self._write(writer, line, row)
        found: dict[str, list[str]] = {origin: [] for origin in FRESH}
        for _, row in self._made():
            found[row.origin].append(row.id)
        chosen: set[str] = set()
        for origin in FRESH:
            chosen |= self._draw(found[origin], share_of(origin, self.config), origin, len(chosen))
        for line, row in self._made():
            if row.id in chosen:
                self._write(writer, line, row)

    def add_labels(self, writer: LineWriter) -> None:
        """Add the labels whose answer is in no pair."""
        for line in _lines(self.sources.snapshot / LABELS):
            row = LabelRow.model_validate_json(line)
            if _digest(row.prompt_token_ids, row.completion) in self.answers:
                self.left_out[IN_A_PAIR] += 1
                continue
            writer.write(line)
            self.labels[row.label] += 1

    def add_earlier(self, writer: LineWriter) -> None:
        """Add pairs that earlier runs trained on first, as many as their share allows."""
        self.left_out[NOT_HERE] += self.sources.missing
        found = [row.id for earlier in self.sources.earlier for row in self._replayable(earlier)]
        chosen = self._draw(dict.fromkeys(found), self.config.replay_share, "replay", 0)
        for earlier in self.sources.earlier:
            taken = [row for row in self._replayable(earlier) if row.id in chosen]
            for row in taken:
                again = row.model_copy(update={"origin": "replay"})
                self._write(writer, again.model_dump_json().encode(), again)
            if taken and earlier.oldest_text is not None:
                self.oldest.append(earlier.oldest_text)

    def counts(self) -> Counts:
        """Return what there is to learn from, without pairs of earlier runs."""
        return Counts(
            pairs=self.by_origin.total(),
            demonstrations=self.demonstrations,
            labels_up=self.labels[True],
            labels_down=self.labels[False],
            sides_up=self.sides[True],
            sides_down=self.sides[False],
            misfits=self.sources.manifest.misfits,
            longest=self.sources.manifest.longest,
        )

    def oldest_text(self) -> datetime:
        """Return the time of the oldest text, or a time before it if that is unknown."""
        manifest = self.sources.manifest
        return min([*self.oldest, manifest.oldest_text or manifest.about.asked_since])

    def _made(self) -> Iterator[tuple[bytes, PairRow]]:
        """Yield the pairs that the run made itself, and that are not in the snapshot."""
        if self.sources.made is not None:
            for line, row in _pairs(self.sources.made):
                if row.origin in FRESH:
                    yield line, row

    def _replayable(self, earlier: EarlierPairs) -> Iterator[PairRow]:
        """Yield the pairs that an earlier run had not replayed itself."""
        for _, row in _pairs(earlier.path):
            if row.origin != "replay" and row.id not in self.ids:
                yield row

    def _draw(
        self, found: Collection[str], share: float, origin: str, pending: int
    ) -> frozenset[str]:
        """Choose pairs of an origin; `pending` ones of others are chosen but not added yet."""
        others = self.by_origin.total() + pending
        count = admitted(len(found), others, share, self.config.max_pairs - others)
        if origin != "replay":
            self.left_out[f"{origin}_over_share"] += len(found) - count
        return drawn(found, count, self.config.seed)

    def _write(self, writer: LineWriter, line: bytes, row: PairRow) -> None:
        writer.write(line)
        self.by_origin[row.origin] += 1
        self.by_signal[row.signal] += 1
        self.demonstrations += row.signal == "demonstration"
        self.sides[True] += row.vouched in ("both", "chosen")
        self.sides[False] += row.vouched in ("both", "rejected")
        self.ids.add(row.id)
        self.answers.add(_digest(row.prompt_token_ids, row.chosen))
        self.answers.add(_digest(row.prompt_token_ids, row.rejected))


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; none if it does not exist, as in snapshots of earlier releases."""
    if path.is_file():
        with path.open("rb") as lines:
            for line in lines:
                yield line.rstrip(b"\n")


def _pairs(path: Path) -> Iterator[tuple[bytes, PairRow]]:
    for line in _lines(path):
        yield line, PairRow.model_validate_json(line)


def _digest(prompt: Sequence[int], completion: CompletionRow) -> bytes:
    """Return a hash of an answer to a prompt."""
    content = f"{list(prompt)} {completion.token_ids} {completion.text}"
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
