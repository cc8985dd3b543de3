"""Write questions, have the live version answer each twice, judge the answers, and make pairs.

What was paid for is kept at once, in files of the step's folder, so work that is resumed repeats
nothing: `synthetic_questions.jsonl`, `synthetic_verdicts.jsonl`.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from common.database import Database
from common.files import PRIVATE_FOLDER
from feedback.reading.logged_answers import logged_requests
from retrain.config import RetrainConfig
from retrain.counterparts.asking import LiveVersion, in_time
from retrain.counterparts.journal import Journal
from retrain.counterparts.judging import judged_questions
from retrain.counterparts.outcome import PAIR
from retrain.counterparts.questions import QuestionToAsk, request_samples
from retrain.counterparts.rows import JudgedQuestion
from retrain.dataset.snapshot import read_held_out, read_pairs, read_requests
from retrain.evaluation.verdicts import AnyJudge, judge_name
from retrain.synthetic.checks import QuestionChecks
from retrain.synthetic.pairing import ANSWERS, SyntheticQuestion, synthetic_pair, to_compare
from retrain.synthetic.prompts import (
    AnswerableReply,
    WrittenQuestion,
    checking_prompt,
    writing_prompt,
)
from retrain.synthetic.seeds import RecordedQuestion, Seed, draw_seeds, question_of
from retrain.synthetic.writers import Writer, WriterError
from retrain.trainer.examples.rows import PairRow

QUESTIONS, VERDICTS = "synthetic_questions.jsonl", "synthetic_verdicts.jsonl"
_PROGRESS = 50
_log = structlog.get_logger()


@dataclass(slots=True)
class SyntheticPairs:
    """The pairs, and the number of questions by what became of them."""

    pairs: list[PairRow] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Synthesis:
    """One run's synthetic pairs.

    Args:
        folder: Folder of the run's own pairs.
        snapshot: The run's snapshot.
        writer: Writes the questions.
        live: The version that is live, answering.
        judge: Compares the answers.
        database: The log.
        config: The settings.

    """

    folder: Path
    snapshot: Path
    writer: Writer
    live: LiveVersion
    judge: AnyJudge
    database: Database
    config: RetrainConfig

    async def run(self) -> SyntheticPairs:
        """Make the pairs, or go on doing so. Does nothing if the settings' share is 0."""
        if not self.config.synthetic.share:
            return SyntheticPairs()
        await asyncio.to_thread(self.folder.mkdir, PRIVATE_FOLDER, exist_ok=True)
        seeds = await self._seeds()
        made = await self._make(seeds)
        verdicts = await self._judge(list(made.values()))
        return self._pairs(seeds, made, verdicts)

    async def _seeds(self) -> list[Seed]:
        rows = await asyncio.to_thread(lambda: list(read_pairs(self.snapshot)))
        ids = [row.interaction_id for row in rows if row.interaction_id is not None]
        logged = await logged_requests(self.database, ids)
        return await asyncio.to_thread(self._draw, logged)

    def _draw(self, logged: Mapping[str, Mapping[str, object]]) -> list[Seed]:
        recorded: dict[str, RecordedQuestion] = {
            row.interaction_id: (row.interaction_id, row.request)
            for row in read_requests(self.snapshot)
        }
        recorded |= {identifier: (identifier, request) for identifier, request in logged.items()}
        return draw_seeds(recorded.values(), self.config.synthetic.questions, self.config.seed)

    async def _make(self, seeds: Sequence[Seed]) -> dict[str, SyntheticQuestion]:
        """Return what was written and answered, as far as the time allows."""
        settings = self.config.synthetic
        journal = Journal(self.folder / QUESTIONS, SyntheticQuestion)
        kept = {row.id: row for row in await asyncio.to_thread(journal.open)}
        spent = max((row.seconds for row in kept.values()), default=0.0)
        known = [*seeds_texts(seeds), *(row.question for row in kept.values() if row.question)]
        checks = await asyncio.to_thread(
            lambda: QuestionChecks(settings, [*self._held_out(), *known])
        )
        results = in_time(
            [seed for seed in seeds if seed.id not in kept],
            lambda seed: self._one(seed, checks),
            concurrency=settings.concurrency,
            seconds=settings.seconds - spent,
        )
        async with aclosing(results):
            async for found, seconds in results:
                row = found.model_copy(update={"seconds": spent + seconds})
                await asyncio.to_thread(journal.append, [row])
                kept[row.id] = row
                if len(kept) % _PROGRESS == 0:
                    _log.info("synthetic_questions", made=len(kept), of=len(seeds))
        return kept

    def _held_out(self) -> Iterator[str]:
        """Yield the held-out questions, which no synthetic question may repeat."""
        for prompt in read_held_out(self.snapshot):
            if text := question_of(prompt.request):
                yield text

    async def _one(self, seed: Seed, checks: QuestionChecks) -> SyntheticQuestion:
        """Write one question, check it, and have it answered."""
        made = SyntheticQuestion(id=seed.id)
        flaw: str | None
        try:
            written = await self.writer.ask(
                writing_prompt(seed.variation, seed.texts), WrittenQuestion
            )
            made = made.model_copy(update={"question": written.question.strip()})
            flaw = checks.flaw(made.question or "")
            if flaw is None and not await self._answerable(made.question or ""):
                flaw = "unanswerable"
        except WriterError as error:
            _log.warning("question_not_written", error=str(error))
            flaw = "no_question"
        if flaw is not None:
            return made.model_copy(update={"flaw": flaw})
        return await self._answered(made, seed.asking(made.question or ""))

    async def _answerable(self, question: str) -> bool:
        return (await self.writer.ask(checking_prompt(question), AnswerableReply)).answerable

    async def _answered(
        self, made: SyntheticQuestion, request: dict[str, object]
    ) -> SyntheticQuestion:
        asked = QuestionToAsk(
            id=made.id,
            kind="counterpart",
            interaction_id="",
            choice=0,
            request=request,
            samples=request_samples(request, ANSWERS),
        )
        answered = await self.live.answer(asked)
        return made.model_copy(update={"request": request, "answered": answered})

    async def _judge(self, made: Sequence[SyntheticQuestion]) -> dict[str, JudgedQuestion]:
        """Return the verdicts by question; those of another judge are not kept."""
        journal = Journal(self.folder / VERDICTS, JudgedQuestion)
        name = judge_name(self.judge)
        rows = await asyncio.to_thread(journal.open)
        kept = {row.id: row for row in rows if row.judge == name}
        missing = [one for row in made if (one := to_compare(row)) and one.id not in kept]
        concurrency = self.config.evaluation.judge_concurrency
        async with aclosing(
            judged_questions(self.judge, missing, concurrency=concurrency)
        ) as found:
            async for some in found:
                await asyncio.to_thread(journal.append, some)
                kept |= {row.id: row for row in some}
        return kept

    def _pairs(
        self,
        seeds: Sequence[Seed],
        made: Mapping[str, SyntheticQuestion],
        verdicts: Mapping[str, JudgedQuestion],
    ) -> SyntheticPairs:
        """Return the pairs, and what became of each question."""
        settings, longest = self.config.synthetic, self.config.hyper.max_length
        found = SyntheticPairs()
        for seed in seeds:
            row = made.get(seed.id)
            if row is None:
                found.outcomes["over_budget"] += 1
                continue
            pair = synthetic_pair(row, verdicts.get(row.id), settings, longest)
            if isinstance(pair, PairRow):
                found.pairs.append(pair)
            found.outcomes[PAIR if isinstance(pair, PairRow) else pair] += 1
        return found


def seeds_texts(seeds: Sequence[Seed]) -> list[str]:
    """Return the real questions that are varied, each once."""
    return list(dict.fromkeys(seed.texts[0] for seed in seeds))
