"""Collect the pairs and labels that fit the trainer, and draw those that a snapshot keeps."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import FileRecord, LineWriter
from retrain.config import RetrainConfig
from retrain.dataset.balance.mix import MixChange
from retrain.dataset.balance.texts import RowTexts, row_texts
from retrain.dataset.filters import Filter
from retrain.dataset.held_out_judgements import JudgedPair
from retrain.dataset.judged import Side
from retrain.dataset.labels import Label
from retrain.dataset.pairs import Pair, PairsResult
from retrain.dataset.questions import question_key
from retrain.dataset.sampling import RowSample
from retrain.signal_figures import SignalFigures
from retrain.trainer.examples.fit import Fit, fit_of_label, fit_of_row
from retrain.trainer.examples.rows import Signal

if TYPE_CHECKING:
    from retrain.dataset.balance.balance import Balanced

_NO_KEY = b"-"


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows that were drawn, and the keys of their questions, as files.

    `kinds` counts the rows by signal and by `up` or `down` (labels; `-` for pairs). `mix` says what
    they are made of.
    """

    rows: FileRecord
    questions: FileRecord
    kinds: Mapping[tuple[str, str], int]
    mix: MixChange

    @property
    def by_signal(self) -> dict[str, int]:
        """The number of rows by signal."""
        counts: Counter[str] = Counter()
        for (signal, _), count in self.kinds.items():
            counts[signal] += count
        return dict(sorted(counts.items()))

    def labelled(self, verdict: str) -> int:
        """Return the number of labels that are `up` or `down`."""
        return sum(count for (_, found), count in self.kinds.items() if found == verdict)


@dataclass(slots=True)
class Tally:
    """What was left out so far, and the time of the oldest text.

    `misfits` and `label_misfits` count pairs and labels that the trainer cannot use; `longest` is
    the length in tokens of the longest pair that is too long. `judgements` and `signals` are those
    of `PairsResult`.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    misfits: Counter[str] = field(default_factory=Counter)
    label_misfits: Counter[str] = field(default_factory=Counter)
    judgements: Counter[str] = field(default_factory=Counter)
    longest: int = 0
    oldest: datetime | None = None
    signals: SignalFigures | None = None


class Collected:
    """The usable pairs and labels of a log, on disk."""

    def __init__(self, folder: Path, config: RetrainConfig) -> None:
        self._config = config
        self._max_length = config.hyper.max_length
        self._pairs = RowSample(folder / "pairs.spill", config.max_pairs, config.seed)
        self._labels = RowSample(folder / "labels.spill", config.max_labels, config.seed)
        self._judged_pairs = RowSample(folder / "judged_pairs.spill", config.max_pairs, config.seed)
        self._judged_labels = RowSample(
            folder / "judged_labels.spill", config.max_pairs, config.seed
        )
        self.tally = Tally()

    def add(self, result: PairsResult) -> None:
        """Add what one conversation gives."""
        self.tally.left_out += result.filtered
        self.tally.judgements += result.judgements
        self.tally.signals = result.signals or self.tally.signals
        for pair in result.pairs:
            self._add_pair(pair)
        for label in result.labels:
            self._add_label(label)
        self.add_held_out(result)

    def add_held_out(self, result: PairsResult) -> None:
        """Add what held-out users said in one conversation, and nothing else."""
        if result.held_out:
            self.tally.oldest = oldest(self.tally.oldest, result.since)
        for judgement in result.held_out:
            is_pair = isinstance(judgement, JudgedPair)
            sample = self._judged_pairs if is_pair else self._judged_labels
            sample.add(judgement.id, (), judgement.model_dump_json().encode())

    def close(self) -> None:
        """Close the files. Safe to call twice."""
        for sample in (self._pairs, self._labels, self._judged_pairs, self._judged_labels):
            sample.close()

    def draw_pairs(self, rows: Path, questions: Path) -> Drawn:
        """Write the pairs that are kept and the keys of their questions."""
        return self._draw(self._pairs, rows, questions)

    def draw_labels(self, rows: Path, questions: Path) -> Drawn:
        """Write the labels that are kept and the keys of their questions."""
        return self._draw(self._labels, rows, questions)

    def draw_judged_pairs(self, path: Path) -> FileRecord:
        """Write the comparisons of held-out users."""
        return _copy(self._judged_pairs, path)

    def draw_judged_labels(self, path: Path) -> FileRecord:
        """Write the labels of held-out users."""
        return _copy(self._judged_labels, path)

    def _add_pair(self, pair: Pair) -> None:
        row = pair.row()
        found = fit_of_row(row, self._max_length)
        if found.misfit == "too_long":
            self.tally.longest = max(self.tally.longest, found.length)
        if self._fits(found, self.tally.misfits):
            self.tally.oldest = oldest(self.tally.oldest, pair.since)
            answers = (("good", pair.chosen), ("bad", pair.rejected))
            head = _head(pair.signal, "-", pair.messages, answers)
            self._pairs.add(pair.id, head, row.model_dump_json().encode())

    def _add_label(self, label: Label) -> None:
        row = label.row()
        if self._fits(fit_of_label(row, self._max_length), self.tally.label_misfits):
            self.tally.oldest = oldest(self.tally.oldest, label.since)
            answers = (("good" if label.good else "bad", label.side),)
            head = _head(label.signal, "up" if label.good else "down", label.messages, answers)
            self._labels.add(label.id, head, row.model_dump_json().encode())

    @staticmethod
    def _fits(found: Fit, misfits: Counter[str]) -> bool:
        """Return whether the trainer can use the row; count it if not."""
        if found.misfit is not None:
            misfits[found.misfit] += 1
        return found.misfit is None

    def _draw(self, sample: RowSample, rows: Path, questions: Path) -> Drawn:
        chosen = _balanced(sample, self._config)
        self.tally.left_out += chosen.left_out
        self.tally.left_out[Filter.OVER_MAXIMUM] += sample.dropped
        kinds: Counter[tuple[str, str]] = Counter()
        seen: set[bytes] = set()
        with closing(LineWriter(rows)) as row_writer, closing(LineWriter(questions)) as keys:
            for at, drawn in enumerate(sample.drawn()):
                if at not in chosen.kept:
                    continue
                signal, verdict, key, _ = drawn.head
                row_writer.write(drawn.row)
                kinds[signal.decode(), verdict.decode()] += 1
                if key != _NO_KEY and key not in seen:
                    seen.add(key)
                    keys.write(key)
        sample.remove()
        return Drawn(row_writer.close(), keys.close(), kinds, chosen.mix)


def _balanced(sample: RowSample, config: RetrainConfig) -> "Balanced":
    """Choose the rows that are kept of a sample."""
    from retrain.dataset.balance.balance import balance  # noqa: PLC0415  (slow to import)

    def read() -> Iterator[tuple[int, RowTexts]]:
        for drawn in sample.drawn():
            yield drawn.priority, RowTexts.from_json(drawn.head[-1])

    return balance(read, config.balance)


def _head(
    signal: Signal,
    verdict: str,
    messages: list[dict[str, Any]] | None,
    answers: Sequence[tuple[str, Side]],
) -> tuple[bytes, ...]:
    """Return what is kept with a row until it is drawn; its texts are not written to the row."""
    key = question_key(messages).encode() if messages else _NO_KEY
    texts = row_texts(messages, [(role, side.parts.rendered()) for role, side in answers])
    return (signal.encode(), verdict.encode(), key, texts.to_json())


def _copy(sample: RowSample, path: Path) -> FileRecord:
    with closing(LineWriter(path)) as writer:
        for drawn in sample.drawn():
            writer.write(drawn.row)
    sample.remove()
    return writer.close()


def oldest(*moments: datetime | None) -> datetime | None:
    """Return the earliest of the moments that are known."""
    return min((moment for moment in moments if moment is not None), default=None)
