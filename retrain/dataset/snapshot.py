"""The snapshot: the frozen inputs of a run.

A snapshot is a folder, created atomically:

- `pairs.jsonl`: pairs, as `PairRow`s.
- `labels.jsonl`: answers that were judged by themselves and are in no pair, as `LabelRow`s.
- `requests.jsonl`: the recorded requests of the labels' answers, as `RecordedRequest`s, each once.
- `held_out.jsonl`: requests of held-out users.
- `held_out_pairs.jsonl`, `held_out_labels.jsonl`: what held-out users said of answers, or others of
  answers to them, as `JudgedPair`s and `JudgedLabel`s. Never trained on.
- `questions.txt`, `label_questions.txt`: keys of the questions of pairs and labels, not their text.
- `next_messages.jsonl`: what the reader said of users' next messages, without their texts.
- `manifest.json`: counts, hashes and settings.

Data is streamed; memory holds one number per pair and label, at most `max_pairs` and `max_labels`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from common.database import Database
from common.files import FileRecord, LineWriter, copied, matches, new_folder, write_whole
from feedback.config import MetricConfig
from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import (
    AskedPrompt,
    JudgedBy,
    JudgedConversation,
    asked_prompts,
    count_interactions,
    judged_conversations,
    recorded_requests,
)
from retrain.config import RetrainConfig
from retrain.dataset.balance.mix import MixChange
from retrain.dataset.drawing import Collected, Drawn, Tally, oldest
from retrain.dataset.filters import RaterRules
from retrain.dataset.held_out import held_out
from retrain.dataset.held_out_judgements import JudgedLabel, JudgedPair
from retrain.dataset.implicit.log import ImplicitLog
from retrain.dataset.judged import Key
from retrain.dataset.pairs import PairsResult, pairs_of
from retrain.dataset.plan import Counts, Plan, plan_stages, possible_pairs
from retrain.dataset.questions import HeldOutPrompt, question_key
from retrain.errors import SnapshotError
from retrain.ports import MessageReader
from retrain.signal_figures import SignalFigures
from retrain.trainer.examples.rows import LabelRow, PairRow

_Row = TypeVar("_Row", bound=BaseModel)
PAIRS, QUESTIONS = "pairs.jsonl", "questions.txt"
LABELS, LABEL_QUESTIONS, REQUESTS = "labels.jsonl", "label_questions.txt", "requests.jsonl"
HELD_OUT, MANIFEST = "held_out.jsonl", "manifest.json"
HELD_OUT_PAIRS, HELD_OUT_LABELS = "held_out_pairs.jsonl", "held_out_labels.jsonl"
NEXT_MESSAGES = "next_messages.jsonl"
_CHUNK = 500


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
        labels: Answers that were judged by themselves, are in no pair and can be trained on.
        labels_up: Number of those that were judged good.
        labels_down: Number of those that were judged bad.
        label_misfits: Number of labels that cannot be trained on, by reason.
        requests: Number of recorded requests of the labels' answers.
        judgements: Number of judgements by what became of them, each counted once: `pairs`,
            `labels`, or the first filter that applied.
        interactions: Number of interactions since `about.since`.
        held_out_pairs: Number of comparisons by held-out users, or of answers to them.
        held_out_labels: Number of such judgements of one answer by itself.
        pairs_mix: Topics, languages and lengths of the pairs, before they were balanced and after.
        labels_mix: The same of the labels.
        signals: Figures of what users did without a button; None if not used.

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
    labels: int = 0
    labels_up: int = 0
    labels_down: int = 0
    labels_by_signal: dict[str, int] = {}
    label_misfits: dict[str, int] = {}
    requests: int = 0
    judgements: dict[str, int] = {}
    interactions: int = 0
    held_out_pairs: int = 0
    held_out_labels: int = 0
    pairs_mix: MixChange = MixChange()
    labels_mix: MixChange = MixChange()
    signals: SignalFigures | None = None

    def figures(self) -> dict[str, Any]:
        """Return the figures that a run keeps: counts and the mix, no text."""
        names = {
            "pairs",
            "pairs_by_signal",
            "labels",
            "labels_up",
            "labels_down",
            "labels_by_signal",
            "judgements",
            "interactions",
            "held_out",
            "held_out_pairs",
            "held_out_labels",
            "questions",
            "pairs_mix",
            "labels_mix",
            "signals",
        }
        return {"filters": self.left_out, **self.model_dump(mode="json", include=names)}

    def counts(self) -> Counts:
        """Return what there is to learn from, before counterparts have been looked for."""
        return Counts(
            pairs=self.pairs,
            demonstrations=self.pairs_by_signal.get("demonstration", 0),
            labels_up=self.labels_up,
            labels_down=self.labels_down,
            misfits=self.misfits,
            longest=self.longest,
        )


class RecordedRequest(BaseModel):
    """The request of an interaction, as its client sent it."""

    model_config = ConfigDict(frozen=True)

    interaction_id: str
    request: dict[str, Any]


class Log(Protocol):
    """The part of the log that a snapshot reads; implemented by `PairLog`."""

    async def interactions(self) -> int:
        """Return the number of interactions in the window of `results`."""
        ...

    def results(self) -> AsyncIterator[PairsResult]:
        """Yield the pairs and labels of each conversation, and what was left out of it."""
        ...

    def earlier(self) -> AsyncIterator[PairsResult]:
        """Yield what held-out users said before the window of `results`, from `asked_since` on."""
        ...

    def requests(self, ids: Sequence[str]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield id and request of these interactions, without those whose texts were removed."""
        ...

    def prompts(self) -> AsyncIterator[AskedPrompt]:
        """Yield the requests of held-out users."""
        ...


@dataclass(frozen=True, slots=True)
class PairLog:
    """Reads pairs and prompts from the log in the database.

    `reader` reads users' next messages, and its verdicts are kept in the file `kept`; without them
    the messages are only counted.
    """

    database: Database
    about: About
    config: RetrainConfig
    base_fingerprint: str
    metrics: Mapping[str, MetricConfig] = field(default_factory=dict)
    reader: MessageReader | None = None
    kept: Path | None = None

    async def interactions(self) -> int:
        """See `Log`."""
        return await count_interactions(self.database, self._window(self.about.since))

    async def results(self) -> AsyncIterator[PairsResult]:
        """See `Log`."""
        paired: set[Key] = set()
        async for result in self.explicit():
            if self.config.signals.used:
                paired |= result.paired
            yield result
        async for result in self._implicit().results(paired):
            yield result

    async def explicit(self) -> AsyncIterator[PairsResult]:
        """Yield what judgements give, without what users did without a button."""
        window = self._window(self.about.since)
        rules = RaterRules(self.config.pairs.events_per_rater)
        async for conversation in judged_conversations(self.database, window, rules.excluded):
            yield self._result(conversation)

    async def earlier(self) -> AsyncIterator[PairsResult]:
        """See `Log`. The window ends now, since later judgements may replace earlier ones."""
        if self.about.asked_since >= self.about.since:
            return
        window = self._window(self.about.asked_since)
        rules = RaterRules(self.config.pairs.events_per_rater)
        stream = judged_conversations(self.database, window, rules.excluded, self._held_out_before)
        async for conversation in stream:
            yield self._result(conversation)

    def _implicit(self) -> ImplicitLog:
        window = self._window(self.about.since)
        return ImplicitLog(
            self.database, window, self.config, self.base_fingerprint, self.reader, self.kept
        )

    async def requests(self, ids: Sequence[str]) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """See `Log`."""
        for found in await recorded_requests(self.database, ids):
            yield found

    async def prompts(self) -> AsyncIterator[AskedPrompt]:
        """See `Log`."""
        window = self._window(self.about.asked_since)
        share = self.config.pairs.held_out_share
        async for prompt in asked_prompts(
            self.database, window, lambda tenant, requester: held_out(tenant, requester, share)
        ):
            yield prompt

    def _held_out_before(self, judged: JudgedBy) -> bool:
        share = self.config.pairs.held_out_share
        return judged.received_at <= self.about.since and any(
            held_out(judged.tenant, user, share) for user in (judged.rater, judged.requester)
        )

    def _result(self, conversation: JudgedConversation) -> PairsResult:
        config = self.config.pairs
        return pairs_of(conversation, config, self.base_fingerprint, self._training_metrics())

    def _training_metrics(self) -> dict[str, MetricConfig]:
        return {name: metric for name, metric in self.metrics.items() if metric.trains}

    def _window(self, since: datetime) -> LogWindow:
        about, metrics = self.about, frozenset(self._training_metrics())
        return LogWindow(about.channel, about.tenants, since, about.cut_off, metrics)


def window_start(last_cut_off: datetime | None, now: datetime, max_days: int) -> datetime:
    """Return the start of a run's feedback: the last promoted run's end, at most `max_days` ago."""
    earliest = now - timedelta(days=max_days)
    return earliest if last_cut_off is None else max(last_cut_off, earliest)


async def freeze(
    folder: Path, about: About, log: Log, config: RetrainConfig, kept: Path | None = None
) -> SnapshotManifest:
    """Write the snapshot to `folder`, replacing an earlier one; return its manifest.

    `kept` is the file of the verdicts on next messages, which is copied, if it exists.
    """
    with new_folder(folder) as draft:
        frozen = await _write(draft, log, config)
        frozen.more |= _kept_messages(kept, draft)
        manifest = _manifest(about, config, frozen)
        write_whole(draft / MANIFEST, manifest.model_dump_json(indent=2).encode())
    return manifest


def _kept_messages(kept: Path | None, draft: Path) -> dict[str, FileRecord]:
    """Copy the file of the verdicts on next messages into the snapshot, if there is one."""
    if kept is None or not kept.exists():
        return {}
    return {NEXT_MESSAGES: copied(kept, draft / NEXT_MESSAGES)}


@dataclass(slots=True)
class _Frozen:
    """What was written to a snapshot's folder."""

    interactions: int
    tally: Tally
    pairs: Drawn
    labels: Drawn
    requests: FileRecord
    judged_pairs: FileRecord
    judged_labels: FileRecord
    asked: "_Asked"
    more: dict[str, FileRecord] = field(default_factory=dict)


async def _write(draft: Path, log: Log, config: RetrainConfig) -> _Frozen:
    with closing(Collected(draft, config)) as collected:
        async for result in log.results():
            collected.add(result)
        async for result in log.earlier():
            collected.add_held_out(result)
    pairs = await asyncio.to_thread(collected.draw_pairs, draft / PAIRS, draft / QUESTIONS)
    labels = await asyncio.to_thread(collected.draw_labels, draft / LABELS, draft / LABEL_QUESTIONS)
    return _Frozen(
        interactions=await log.interactions(),
        tally=collected.tally,
        pairs=pairs,
        labels=labels,
        requests=await _write_requests(draft, log),
        judged_pairs=await asyncio.to_thread(collected.draw_judged_pairs, draft / HELD_OUT_PAIRS),
        judged_labels=await asyncio.to_thread(
            collected.draw_judged_labels, draft / HELD_OUT_LABELS
        ),
        asked=await _write_prompts(draft / HELD_OUT, log),
    )


def _manifest(about: About, config: RetrainConfig, frozen: _Frozen) -> SnapshotManifest:
    tally, pairs, labels, asked = frozen.tally, frozen.pairs, frozen.labels, frozen.asked
    return SnapshotManifest(
        about=about,
        pairs=pairs.rows.lines,
        pairs_by_signal=pairs.by_signal,
        left_out=_ordered(tally.left_out + tally.misfits + tally.label_misfits),
        held_out=asked.file.lines,
        questions=asked.questions,
        settings=_settings(config),
        files={
            PAIRS: pairs.rows,
            QUESTIONS: pairs.questions,
            LABELS: labels.rows,
            LABEL_QUESTIONS: labels.questions,
            REQUESTS: frozen.requests,
            HELD_OUT: asked.file,
            HELD_OUT_PAIRS: frozen.judged_pairs,
            HELD_OUT_LABELS: frozen.judged_labels,
            **frozen.more,
        },
        oldest_text=oldest(tally.oldest, asked.oldest),
        misfits=_ordered(tally.misfits),
        longest=tally.longest,
        labels=labels.rows.lines,
        labels_up=labels.labelled("up"),
        labels_down=labels.labelled("down"),
        labels_by_signal=labels.by_signal,
        label_misfits=_ordered(tally.label_misfits),
        requests=frozen.requests.lines,
        judgements=_ordered(tally.judgements),
        interactions=frozen.interactions,
        held_out_pairs=frozen.judged_pairs.lines,
        held_out_labels=frozen.judged_labels.lines,
        pairs_mix=pairs.mix,
        labels_mix=labels.mix,
        signals=tally.signals,
    )


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted((+counts).items()))


def plan_of(manifest: SnapshotManifest, config: RetrainConfig, *, judged: bool) -> Plan:
    """Plan the training on a snapshot, before counterparts have been looked for.

    Args:
        manifest: The snapshot's.
        config: The settings.
        judged: Whether a judge finds counterparts: each label that is asked again may then become
            a pair.

    """
    counts = manifest.counts()
    if judged:
        counts = replace(counts, possible_pairs=possible_pairs(counts, config))
    return plan_stages(counts, config, judged)


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


def read_pairs(folder: Path) -> Iterator[PairRow]:
    """Yield the pairs."""
    return _rows(folder / PAIRS, PairRow)


def read_labels(folder: Path) -> Iterator[LabelRow]:
    """Yield the labels; none if an earlier release took the snapshot."""
    return _rows(folder / LABELS, LabelRow)


def read_requests(folder: Path) -> Iterator[RecordedRequest]:
    """Yield the requests of the labels' answers; none if an earlier release took the snapshot."""
    return _rows(folder / REQUESTS, RecordedRequest)


def read_judged_pairs(folder: Path) -> Iterator[JudgedPair]:
    """Yield the comparisons of held-out users; none if an earlier release took the snapshot."""
    return _rows(folder / HELD_OUT_PAIRS, JudgedPair)


def read_judged_labels(folder: Path) -> Iterator[JudgedLabel]:
    """Yield the labels of held-out users; none if an earlier release took the snapshot."""
    return _rows(folder / HELD_OUT_LABELS, JudgedLabel)


def _rows(path: Path, model: type[_Row]) -> Iterator[_Row]:
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            yield model.model_validate_json(line)


def read_question_keys(folder: Path, *, labels: bool = False) -> set[str]:
    """Return the keys of the questions of the pairs, and of the labels if `labels` is true."""
    names = (QUESTIONS, LABEL_QUESTIONS) if labels else (QUESTIONS,)
    found = [folder / name for name in names if name == QUESTIONS or (folder / name).exists()]
    return {key for path in found for key in path.read_text("ascii").split()}


@dataclass(slots=True)
class _Asked:
    file: FileRecord
    questions: int
    oldest: datetime | None


async def _write_requests(draft: Path, log: Log) -> FileRecord:
    """Write the requests of the labels' answers, each once, in order of the labels."""
    with closing(LineWriter(draft / REQUESTS)) as writer:
        for ids in _chunks(_labelled_interactions(draft)):
            async for identifier, request in log.requests(ids):
                found = RecordedRequest(interaction_id=identifier, request=request)
                writer.write(found.model_dump_json().encode())
    return writer.close()


def _labelled_interactions(draft: Path) -> Iterator[str]:
    """Yield the interaction of each label in the folder once."""
    seen: set[str] = set()
    for row in read_labels(draft):
        if row.interaction_id not in seen:
            seen.add(row.interaction_id)
            yield row.interaction_id


def _chunks(ids: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(ids, _CHUNK)):
        yield chunk


async def _write_prompts(path: Path, log: Log) -> _Asked:
    keys: set[str] = set()
    earliest: datetime | None = None
    with closing(LineWriter(path)) as writer:
        async for asked in log.prompts():
            prompt = _held_out_prompt(asked)
            keys.add(prompt.text_key)
            earliest = oldest(earliest, asked.received_at)
            writer.write(prompt.model_dump_json().encode())
    return _Asked(writer.close(), len(keys), earliest)


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
    return config.model_dump(
        mode="json",
        exclude={"judge": True, "trainer": True, "signals": {"reader"}, "synthetic": {"writer"}},
    )
