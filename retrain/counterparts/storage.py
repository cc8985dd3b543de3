"""The folder of the step: what was answered, what the judge said, and the frozen pairs.

- `answers.jsonl`: an `AnsweredQuestion` per question, written as soon as it is answered.
- `verdicts.jsonl`: a `JudgedQuestion` per question.
- `pairs.jsonl`: the pairs, as `PairRow`s.
- `manifest.json`: counts and hashes. It is written last; with it the folder is frozen.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from common.files import FileRecord, LineWriter, matches, sync, write_whole
from retrain.counterparts.outcome import PAIR
from retrain.errors import SnapshotError
from retrain.trainer.examples.rows import PairRow

ANSWERS, VERDICTS, PAIRS, MANIFEST = (
    "answers.jsonl",
    "verdicts.jsonl",
    "pairs.jsonl",
    "manifest.json",
)


class CounterpartFigures(BaseModel):
    """The step in numbers.

    Attributes:
        questions: Questions to ask again.
        asked: Those that were asked.
        answers: New answers that came and were logged.
        outcomes: Rated answers by what became of them: `pair`, or why there is none.
        self_play: Pairs that self-play drew, by what became of them.
        synthetic: Synthetic questions by what became of them.
        seconds: Seconds of asking.
        judge: What compared the answers; None if nothing was compared.
        why_not: Why no counterpart was looked for; None if one was.

    """

    model_config = ConfigDict(frozen=True)

    questions: int = 0
    asked: int = 0
    answers: int = 0
    outcomes: dict[str, int] = {}
    self_play: dict[str, int] = {}
    synthetic: dict[str, int] = {}
    seconds: float = 0.0
    judge: str | None = None
    why_not: str | None = None

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return sum(one.get(PAIR, 0) for one in (self.outcomes, self.self_play, self.synthetic))


class CounterpartsManifest(BaseModel):
    """The frozen content of the folder.

    `live` is the version that answered, `settings` those that it was made with, and `files` has
    size and hash of each file.
    """

    model_config = ConfigDict(frozen=True)

    live: str
    figures: CounterpartFigures
    settings: dict[str, Any]
    files: dict[str, FileRecord]


def freeze_pairs(
    folder: Path,
    pairs: Iterable[PairRow],
    live: str,
    figures: CounterpartFigures,
    settings: dict[str, Any],
) -> CounterpartsManifest:
    """Write the pairs, and then the manifest. Blocks."""
    draft = folder / f".{PAIRS}.draft"
    draft.unlink(missing_ok=True)
    with closing(LineWriter(draft)) as writer:
        for pair in pairs:
            writer.write(pair.model_dump_json().encode())
        record = writer.close()
    draft.replace(folder / PAIRS)
    sync(folder)
    kept = {name: _record(folder / name) for name in (ANSWERS, VERDICTS)}
    files = {PAIRS: record, **{name: one for name, one in kept.items() if one is not None}}
    manifest = CounterpartsManifest(live=live, figures=figures, settings=settings, files=files)
    write_whole(folder / MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def find_frozen(folder: Path) -> CounterpartsManifest | None:
    """Return the manifest if the folder is frozen, else None.

    Raises `SnapshotError` if a file was changed or lost since then.
    """
    with suppress(FileNotFoundError):
        return open_counterparts(folder)
    return None


def open_counterparts(folder: Path) -> CounterpartsManifest:
    """Read the manifest and check every file against it.

    Raises:
        FileNotFoundError: The step has not ended.
        SnapshotError: A file was changed or lost.

    """
    content = (folder / MANIFEST).read_bytes()
    try:
        manifest = CounterpartsManifest.model_validate_json(content)
    except ValidationError as error:
        raise SnapshotError(
            f"{MANIFEST} of the counterparts is damaged: start another run"
        ) from error
    for name, record in manifest.files.items():
        if not matches(folder / name, record):
            raise SnapshotError(f"{name} of the counterparts was changed: start another run")
    return manifest


def read_pairs(folder: Path) -> Iterator[PairRow]:
    """Yield the pairs of a frozen folder."""
    with (folder / PAIRS).open("rb") as lines:
        for line in lines:
            yield PairRow.model_validate_json(line)


def _record(path: Path) -> FileRecord | None:
    """Return the record of a file; None if there is none."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    digest = sha256(content).hexdigest()
    return FileRecord(sha256=digest, size=len(content), lines=content.count(b"\n"))
