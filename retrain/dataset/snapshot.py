"""The snapshot: the frozen inputs of a run.

A snapshot is a folder, created atomically: `pairs.jsonl` (the trainer's rows), `held_out.jsonl`
(requests of held-out users), `questions.txt` (the keys of the questions trained on, not their text)
and `manifest.json` with counts, hashes and settings. Data is streamed; memory holds one number per
pair, at most `max_pairs`.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from common.database import Database
from common.files import FileRecord, LineWriter, matches, new_folder, write_whole
from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import AskedPrompt, asked_prompts, judged_conversations
from retrain.config import RetrainConfig
from retrain.dataset.filters import Filter, RaterRules
from retrain.dataset.held_out import held_out
from retrain.dataset.pairs import Pair, pairs_of
from retrain.dataset.plan import Counts, Plan, plan_stages
from retrain.dataset.questions import HeldOutPrompt, question_key
from retrain.errors import SnapshotError
from retrain.trainer.examples.fit import fit_of_row
from retrain.trainer.examples.rows import PairRow

PAIRS, HELD_OUT, QUESTIONS, MANIFEST = (
    "pairs.jsonl",
    "held_out.jsonl",
    "questions.txt",
    "manifest.json",
)
_NO_KEY = b"-"


class About(BaseModel):
    """What a snapshot is for, and which part of the log it covers.

    It has feedback from `since` and questions from `asked_since`, both up to `cut_off`. `parent` is
    the live version, None for the base model. `base_fingerprint` is empty in snapshots of earlier
    releases.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    channel: str
    tenants: frozenset[str] | None
    since: AwareDatetime
    asked_since: AwareDatetime
    cut_off: AwareDatetime
    base_model: str
    base_fingerprint: str = ""
    parent: str | None


class SnapshotManifest(BaseModel):
    """The content of a snapshot, in numbers.

    Attributes:
        pairs: Pairs that can be trained on, before demonstrations are rendered.
        left_out: Number of judgements and pairs that were left out, by filter.
        held_out: Number of requests of held-out users.
        questions: Number of distinct questions among them.
        files: Size and hash of each file.
        oldest_text: Time of the oldest text.
        misfits: Number of pairs that cannot be trained on, by reason.
        longest: Tokens of the longest pair that is too long, else 0.
        labels_up: Answers that were judged good by themselves and are in no pair.
        labels_down: Answers that were judged bad by themselves and are in no pair.

    """

    model_config = ConfigDict(frozen=True)

    about: About
    pairs: int
    pairs_by_signal: dict[str, int]
    left_out: dict[str, int]
    held_out: int
    questions: int
    settings: dict[str, Any]
    files: dict[str, FileRecord]
    oldest_text: AwareDatetime | None = None
    misfits: dict[str, int] = {}
    longest: int = 0
    labels_up: int = 0
    labels_down: int = 0

    def counts(self, *, possible_pairs: int = 0) -> Counts:
        """Return what there is to learn from; `possible_pairs` may still be added to it."""
        return Counts(
            pairs=self.pairs,
            demonstrations=self.pairs_by_signal.get("demonstration", 0),
            labels_up=self.labels_up,
            labels_down=self.labels_down,
            possible_pairs=possible_pairs,
            misfits=self.misfits,
            longest=self.longest,
        )


class Log(Protocol):
    """The part of the log that a snapshot reads; implemented by `PairLog`."""

    def pairs(self) -> AsyncIterator[tuple[list[Pair], Counter[str]]]:
        """Yield the pairs of each conversation, and what was left out of it."""
        ...

    def prompts(self) -> AsyncIterator[AskedPrompt]:
        """Yield the requests of held-out users."""
        ...


@dataclass(frozen=True, slots=True)
class PairLog:
    """Reads pairs and prompts from the log in the database."""

    database: Database
    about: About
    config: RetrainConfig
    base_fingerprint: str

    async def pairs(self) -> AsyncIterator[tuple[list[Pair], Counter[str]]]:
        """See `Log`."""
        window = self._window(self.about.since)
        rules = RaterRules(self.config.pairs.events_per_rater)
        async for conversation in judged_conversations(self.database, window, rules.excluded):
            result = pairs_of(conversation, self.config.pairs, self.base_fingerprint)
            yield result.pairs, result.filtered

    async def prompts(self) -> AsyncIterator[AskedPrompt]:
        """See `Log`."""
        window = self._window(self.about.asked_since)
        share = self.config.pairs.held_out_share
        async for prompt in asked_prompts(
            self.database, window, lambda tenant, requester: held_out(tenant, requester, share)
        ):
            yield prompt

    def _window(self, since: datetime) -> LogWindow:
        return LogWindow(self.about.channel, self.about.tenants, since, self.about.cut_off)


def window_start(last_cut_off: datetime | None, now: datetime, max_days: int) -> datetime:
    """Return the start of a run's feedback: the last promoted run's end, at most `max_days` ago."""
    earliest = now - timedelta(days=max_days)
    return earliest if last_cut_off is None else max(last_cut_off, earliest)


async def freeze(folder: Path, about: About, log: Log, config: RetrainConfig) -> SnapshotManifest:
    """Write the snapshot to `folder`, replacing an earlier one; return its manifest."""
    with new_folder(folder) as draft:
        spill = await _spill(draft / "spill", log, config)
        drawn = await asyncio.to_thread(_draw, draft, spill)
        asked = await _write_prompts(draft / HELD_OUT, log)
        manifest = SnapshotManifest(
            about=about,
            pairs=drawn.pairs.lines,
            pairs_by_signal=dict(sorted(drawn.by_signal.items())),
            left_out=dict(sorted((spill.left_out + spill.misfits + drawn.left_out).items())),
            held_out=asked.file.lines,
            questions=asked.questions,
            settings=_settings(config),
            files={PAIRS: drawn.pairs, QUESTIONS: drawn.questions, HELD_OUT: asked.file},
            oldest_text=_oldest(spill.oldest, asked.oldest),
            misfits=dict(sorted(spill.misfits.items())),
            longest=spill.longest,
        )
        write_whole(draft / MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def plan_of(manifest: SnapshotManifest, config: RetrainConfig, *, judged: bool) -> Plan:
    """Plan the training on a snapshot, before counterparts have been looked for.

    Args:
        manifest: The snapshot's.
        config: The settings.
        judged: Whether a judge finds counterparts: each label may then become a pair.

    """
    possible = manifest.labels_up + manifest.labels_down if judged else 0
    return plan_stages(manifest.counts(possible_pairs=possible), config, judged)


def open_snapshot(folder: Path) -> SnapshotManifest:
    """Read the manifest and check every file against it.

    Raises `SnapshotError` if a file is missing or was changed.
    """
    try:
        manifest = SnapshotManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise SnapshotError("the run has no snapshot: start another run") from error
    except ValidationError as error:
        raise SnapshotError("the snapshot's manifest is damaged: start another run") from error
    for name, record in manifest.files.items():
        if not matches(folder / name, record):
            raise SnapshotError(f"{name} of the snapshot was changed: start another run")
    return manifest


def read_held_out(folder: Path) -> Iterator[HeldOutPrompt]:
    """Yield the requests of held-out users."""
    with (folder / HELD_OUT).open("rb") as lines:
        for line in lines:
            yield HeldOutPrompt.model_validate_json(line)


def read_question_keys(folder: Path) -> set[str]:
    """Return the keys of the questions that are trained on."""
    return set((folder / QUESTIONS).read_text("ascii").split())


@dataclass(slots=True)
class _Spill:
    """All usable pairs, written to disk, and the largest priority among those to be kept."""

    path: Path
    threshold: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    misfits: Counter[str] = field(default_factory=Counter)
    longest: int = 0
    oldest: datetime | None = None


@dataclass(slots=True)
class _Asked:
    file: FileRecord
    questions: int
    oldest: datetime | None


@dataclass(slots=True)
class _Drawn:
    pairs: FileRecord
    questions: FileRecord
    by_signal: Counter[str]
    left_out: Counter[str]


async def _spill(path: Path, log: Log, config: RetrainConfig) -> _Spill:
    """Write every usable pair with a pseudo-random priority.

    The pairs with the `max_pairs` lowest priorities are a uniform sample.
    """
    spill = _Spill(path)
    lowest: list[int] = []
    with closing(LineWriter(path)) as writer:
        async for pairs, filtered in log.pairs():
            spill.left_out += filtered
            for pair in pairs:
                row = pair.row()
                if not _fits(spill, row, config.hyper.max_length):
                    continue
                spill.oldest = _oldest(spill.oldest, pair.since)
                priority = _priority(config.seed, pair.id)
                _keep_lowest(lowest, priority, config.max_pairs)
                writer.write(_spilled(priority, pair, row))
    spill.threshold = -lowest[0] if lowest else 0
    return spill


def _fits(spill: _Spill, row: PairRow, max_length: int) -> bool:
    """Return whether the trainer can use the pair; count it if not."""
    found = fit_of_row(row, max_length)
    if found.misfit is None:
        return True
    spill.misfits[found.misfit] += 1
    if found.misfit == "too_long":
        spill.longest = max(spill.longest, found.length)
    return False


def _oldest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _priority(seed: int, identifier: str) -> int:
    digest = blake2b(f"{seed}:{identifier}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _keep_lowest(negated: list[int], priority: int, limit: int) -> None:
    if len(negated) < limit:
        heapq.heappush(negated, -priority)
    else:
        heapq.heappushpop(negated, -priority)


def _spilled(priority: int, pair: Pair, row: PairRow) -> bytes:
    key = question_key(pair.messages).encode() if pair.messages else _NO_KEY
    head = f"{priority:016x} {pair.signal}".encode()
    return b" ".join((head, key, row.model_dump_json().encode()))


def _draw(draft: Path, spill: _Spill) -> _Drawn:
    """Write the sampled pairs to their final file, and remove the spill file."""
    by_signal: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    keys: set[bytes] = set()
    with (
        closing(LineWriter(draft / PAIRS)) as pairs,
        closing(LineWriter(draft / QUESTIONS)) as questions,
        spill.path.open("rb") as lines,
    ):
        for line in lines:
            priority, signal, key, row = line.rstrip(b"\n").split(b" ", 3)
            if int(priority, 16) > spill.threshold:
                left_out[Filter.OVER_MAXIMUM] += 1
                continue
            pairs.write(row)
            by_signal[signal.decode()] += 1
            if key != _NO_KEY and key not in keys:
                keys.add(key)
                questions.write(key)
    spill.path.unlink()
    return _Drawn(pairs.close(), questions.close(), by_signal, left_out)


async def _write_prompts(path: Path, log: Log) -> _Asked:
    keys: set[str] = set()
    oldest: datetime | None = None
    with closing(LineWriter(path)) as writer:
        async for asked in log.prompts():
            prompt = _held_out_prompt(asked)
            keys.add(prompt.text_key)
            oldest = _oldest(oldest, asked.received_at)
            writer.write(prompt.model_dump_json().encode())
    return _Asked(writer.close(), len(keys), oldest)


def _held_out_prompt(asked: AskedPrompt) -> HeldOutPrompt:
    messages = asked.request.get("messages")
    return HeldOutPrompt(
        interaction_id=asked.interaction_id,
        conversation_hash=asked.conversation,
        text_key=question_key(messages if isinstance(messages, list) else []),
        request=asked.request,
    )


def _settings(config: RetrainConfig) -> dict[str, Any]:
    """Return the settings to record, without those that may hold secrets."""
    return config.model_dump(mode="json", exclude={"judge", "trainer"})
