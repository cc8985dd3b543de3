"""The search for counterparts: draw questions, ask them, judge the answers, freeze the pairs.

What was paid for is kept at once: each answered question, and the verdicts of some questions at a
time. A search that is resumed asks only what is missing, and ends with the same pairs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from common.database import Database
from common.files import PRIVATE_FOLDER
from feedback.reading.logged_answers import logged_requests
from retrain.config import RetrainConfig
from retrain.counterparts.asking import LiveVersion, in_time
from retrain.counterparts.drawing import (
    DrawnQuestions,
    drawn,
    drawn_labels,
    drawn_pairs,
    label_requests,
)
from retrain.counterparts.journal import Journal
from retrain.counterparts.judging import judged_questions
from retrain.counterparts.outcome import (
    Answers,
    SearchOutcome,
    Verdicts,
    outcome_of,
    to_judge,
)
from retrain.counterparts.questions import DrawnLabels
from retrain.counterparts.rows import AnsweredQuestion, JudgedQuestion
from retrain.counterparts.storage import (
    ANSWERS,
    VERDICTS,
    CounterpartFigures,
    CounterpartsManifest,
    freeze_pairs,
)
from retrain.evaluation.verdicts import AnyJudge, judge_name
from retrain.trainer.examples.rows import PairRow

PROGRESS_SECONDS = 2.0
"""Seconds between two reports of progress, at least: each is a write to the database."""

Progress = Callable[[CounterpartFigures], Awaitable[None]]
MorePairs = Callable[[], Awaitable[tuple[list[PairRow], Mapping[str, int]]]]
"""Returns synthetic pairs, and the number of synthetic questions by what became of them."""

_log = structlog.get_logger()


@dataclass(slots=True)
class Search:
    """One run's search.

    Args:
        folder: Where it keeps what it finds.
        snapshot: The run's snapshot.
        model: The version that is live, by its name at the chat endpoint.
        live: That version, answering.
        judge: Compares answers; None if nothing does, and then only self-play asks.
        database: The log.
        config: The settings.
        progress: Called with the figures so far, every few seconds.
        synthetic: Makes synthetic pairs, which are frozen with the others; None if there are none.

    """

    folder: Path
    snapshot: Path
    model: str
    live: LiveVersion
    judge: AnyJudge | None
    database: Database
    config: RetrainConfig
    progress: Progress
    synthetic: MorePairs | None = None
    _told: float = field(default=float("-inf"), init=False)

    async def run(self) -> CounterpartsManifest:
        """Find the pairs, or go on doing so, and freeze them."""
        await asyncio.to_thread(self.folder.mkdir, PRIVATE_FOLDER, exist_ok=True)
        what = await self._drawn()
        answers = await self._ask(what)
        verdicts = await self._judge(what, answers)
        found = outcome_of(what, answers, verdicts, self.config)
        more, counts = ([], {}) if self.synthetic is None else await self.synthetic()
        found.pairs += more
        figures = self._figures(what, answers).model_copy(
            update={
                "outcomes": dict(found.outcomes),
                "self_play": dict(found.self_play),
                "synthetic": dict(counts),
            }
        )
        return await asyncio.to_thread(self._freeze, found, figures)

    async def _drawn(self) -> DrawnQuestions:
        labels = DrawnLabels([])
        if self._why_not is None:
            labels = await asyncio.to_thread(drawn_labels, self.snapshot, self.config)
        pairs = await asyncio.to_thread(drawn_pairs, self.snapshot, self.config)
        requests = await asyncio.to_thread(label_requests, self.snapshot, labels.labels)
        of_pairs = [pair.interaction_id for pair in pairs if pair.interaction_id is not None]
        logged = await logged_requests(self.database, of_pairs)
        return drawn(labels, pairs, {**logged, **requests}, self.config.counterparts.samples)

    async def _ask(self, what: DrawnQuestions) -> Answers:
        """Return the answers to all questions, as far as the time allows."""
        if not what.questions:
            return {}
        settings = self.config.counterparts
        journal = Journal(self.folder / ANSWERS, AnsweredQuestion)
        kept = {row.id: row for row in await asyncio.to_thread(journal.open)}
        spent = max((row.seconds for row in kept.values()), default=0.0)
        missing = [question for question in what.questions if question.id not in kept]
        results = in_time(
            missing,
            self.live.answer,
            concurrency=settings.concurrency,
            seconds=settings.seconds - spent,
        )
        async with aclosing(results):
            async for answered, seconds in results:
                row = answered.model_copy(update={"seconds": spent + seconds})
                await asyncio.to_thread(journal.append, [row])
                kept[row.id] = row
                await self._tell(what, kept)
        return kept

    async def _judge(self, what: DrawnQuestions, answers: Answers) -> Verdicts:
        """Return the verdicts on all questions; those of another judge are not kept."""
        if self.judge is None or not answers:
            return {}
        journal = Journal(self.folder / VERDICTS, JudgedQuestion)
        rows = await asyncio.to_thread(journal.open)
        name = judge_name(self.judge)
        kept = {row.id: row for row in rows if row.judge == name}
        missing = [one for one in to_judge(what, answers) if one.id not in kept]
        concurrency = self.config.evaluation.judge_concurrency
        async with aclosing(
            judged_questions(self.judge, missing, concurrency=concurrency)
        ) as found:
            async for some in found:
                await asyncio.to_thread(journal.append, some)
                kept |= {row.id: row for row in some}
        return kept

    def _freeze(self, found: SearchOutcome, figures: CounterpartFigures) -> CounterpartsManifest:
        used = self.config.model_dump(
            mode="json",
            include={"counterparts", "self_play", "synthetic", "seed"},
            exclude={"synthetic": {"writer"}},
        )
        return freeze_pairs(self.folder, found.pairs, self.model, figures, used)

    def _figures(self, what: DrawnQuestions, answers: Answers) -> CounterpartFigures:
        asked = [answers[one.id] for one in what.questions if one.id in answers]
        return CounterpartFigures(
            questions=len(what.questions),
            asked=len(asked),
            answers=sum(len(one.answers) for one in asked),
            seconds=max((one.seconds for one in asked), default=0.0),
            judge=None if self.judge is None else judge_name(self.judge),
            why_not=self._why_not,
        )

    async def _tell(self, what: DrawnQuestions, answers: Answers) -> None:
        """Report the progress, unless it was just reported."""
        now = asyncio.get_running_loop().time()
        if now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        figures = self._figures(what, answers)
        _log.info("counterparts_asked", asked=figures.asked, of=figures.questions)
        await self.progress(figures)

    @property
    def _why_not(self) -> str | None:
        """Why no counterparts are looked for, or None."""
        if not self.config.counterparts.enabled:
            return "retrain.counterparts.enabled is false"
        return "no judge compares answers" if self.judge is None else None
