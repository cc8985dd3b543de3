"""A snapshot with rated answers, and a live version that answers them again, for tests."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from feedback.records import pack, unpack
from retrain.config import EvaluationConfig, RetrainConfig
from retrain.counterparts.asking import LiveVersion
from retrain.counterparts.search import Search
from retrain.counterparts.storage import CounterpartFigures
from retrain.dataset.snapshot import RecordedRequest
from retrain.evaluation.verdicts import AnyJudge
from retrain.ports import Answer
from retrain.trainer.examples.rows import CompletionRow, LabelRow, PairRow
from server.database.database import Database
from tests.retrain.log import Log
from tests.retrain.world import SATURDAY, FakeJudge

Texts = Callable[[str, int], str]
"""The live version's answer to a question at the given time of asking it, from 1."""


def varied(question: str, time: int) -> str:
    """Answer well the second time, and badly the third."""
    return {2: f"good answer to {question}", 3: f"bad answer to {question}"}.get(
        time, f"answer {time} to {question}"
    )


class ReanswersChat:
    """Answers as a server does: each answer is in the log, with mode `counterpart`."""

    def __init__(self, database: Database, texts: Texts = varied) -> None:
        self.database = database
        self.texts = texts
        self.asked: list[tuple[str, str]] = []
        self.requests: list[Mapping[str, Any]] = []
        self.before: Callable[[], Any] | None = None
        self.prompt = [1, 2, 3]
        self.finish_reason = "stop"
        self.busiest = self._running = self._answers = 0

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        self._running += 1
        self.busiest = max(self.busiest, self._running)
        try:
            return await self._answer(model, request)
        finally:
            self._running -= 1

    async def _answer(self, model: str, request: Mapping[str, Any]) -> Answer:
        if self.before is not None:
            await self.before()
        question = request["messages"][-1]["content"]
        self.asked.append((model, question))
        self.requests.append(request)
        text = self.texts(question, sum(asked == question for _, asked in self.asked))
        self._answers += 1
        log = Log(SATURDAY, prefix=f"again-{self._answers}-")
        identifier = log.ask(question, text, mode="counterpart", prompt_token_ids=pack(self.prompt))
        log.rows[-1].finish_reason = self.finish_reason
        await log.write(self.database)
        return Answer(text, self.finish_reason, identifier, len(text))


@dataclass
class Ground:
    """A snapshot with labels, and everything that a search uses."""

    database: Database
    folder: Path
    config: RetrainConfig = field(default_factory=RetrainConfig)
    judge: AnyJudge | None = field(default_factory=FakeJudge)

    def __post_init__(self) -> None:
        self.chat = ReanswersChat(self.database)
        self.told: list[CounterpartFigures] = []
        self.log = Log(SATURDAY - timedelta(days=1), prefix="rated-")
        self.labels: list[LabelRow] = []
        self.pairs: list[PairRow] = []
        self.snapshot = self.folder / "snapshot"

    def rate(self, question: str, text: str, *, up: bool, **more: Any) -> LabelRow:
        """An answer that got a thumb."""
        identifier = self.log.ask(question, text)
        row = self.log.rows[-1]
        self.labels.append(
            LabelRow(
                id=f"label-{len(self.labels)}",
                interaction_id=identifier,
                choice=0,
                prompt_token_ids=[1, 2, 3],
                completion=CompletionRow(token_ids=unpack(row.token_ids)),
                label=up,
                signal="thumbs",
                **more,
            )
        )
        return self.labels[-1]

    async def write(self) -> None:
        """Write the snapshot and the log."""
        self.snapshot.mkdir()
        requests = {row.id: row.request for row in self.log.rows if hasattr(row, "request")}
        _write(self.snapshot / "labels.jsonl", [row.model_dump_json() for row in self.labels])
        _write(self.snapshot / "pairs.jsonl", [row.model_dump_json() for row in self.pairs])
        lines = [
            RecordedRequest(interaction_id=name, request=asked).model_dump_json()
            for name, asked in requests.items()
        ]
        _write(self.snapshot / "requests.jsonl", lines)
        await self.log.write(self.database)

    def search(self, folder: str = "counterparts") -> Search:
        """A search in a folder that may be another one's, as after a restart."""

        async def tell(figures: CounterpartFigures) -> None:
            self.told.append(figures)

        live = LiveVersion(
            self.chat,
            "pawl@base",
            self.database,
            EvaluationConfig(attempts=2, first_pause=0),
            sleep=lambda _: asyncio.sleep(0),
        )
        return Search(
            folder=self.folder / folder,
            snapshot=self.snapshot,
            model="pawl@base",
            live=live,
            judge=self.judge,
            database=self.database,
            config=self.config,
            progress=tell,
        )


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
