"""Synthetic questions: written, checked, answered twice, judged, and kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from retrain.config import ModelEndpoint, RetrainConfig, SyntheticConfig
from retrain.dataset.questions import HeldOutPrompt
from retrain.ports import Answer, ChatError
from retrain.synthetic.making import QUESTIONS, Synthesis, SyntheticPairs
from retrain.synthetic.prompts import AnswerableReply, Prompt, WrittenQuestion
from retrain.synthetic.writers import EndpointWriter, LiveWriter, WriterError
from server.database.database import Database
from tests.retrain.counterparts.fakes import Ground

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("backend", ["sqlite"], indirect=True),
]
WRITTEN = [
    "Which trains leave for Vienna on Sunday morning?",
    "How do I water an orchid in a dark room?",
    "What does a passport for a child cost?",
    "Can I return shoes that I wore once outside?",
    "Why is my invoice higher than last month?",
]


@dataclass
class StubWriter:
    """Writes the given questions one after the other."""

    questions: Sequence[str] = tuple(WRITTEN)
    answerable: bool = True
    prompts: list[Prompt] = field(default_factory=list)
    written: int = 0

    async def ask(self, prompt: Prompt, reply: type[BaseModel]) -> Any:
        self.prompts.append(prompt)
        if reply is AnswerableReply:
            return AnswerableReply(answerable=self.answerable)
        if self.written >= len(self.questions):
            raise WriterError("nothing comes to mind")
        self.written += 1
        return WrittenQuestion(question=self.questions[self.written - 1])


def answers(question: str, time: int) -> str:
    return f"{'good' if time == 2 else 'bad'} answer to {question}"


async def ground(database: Database, folder: Path, **settings: Any) -> Ground:
    given = {"share": 0.2, "questions": 5, "concurrency": 1, **settings}
    made = Ground(database, folder, RetrainConfig(synthetic=SyntheticConfig(**given)))
    made.chat.texts = answers
    made.rate("When is the shop open?", "At nine.", up=True)
    await made.write()
    made.snapshot.joinpath("held_out.jsonl").write_text("")
    return made


def hold_out(ground: Ground, question: str) -> None:
    prompt = HeldOutPrompt(
        interaction_id="x",
        conversation_hash="x",
        text_key="x",
        request={"messages": [{"role": "user", "content": question}]},
    )
    ground.snapshot.joinpath("held_out.jsonl").write_text(prompt.model_dump_json() + "\n")


async def make(ground: Ground, writer: StubWriter) -> SyntheticPairs:
    search = ground.search()
    assert ground.judge is not None
    return await Synthesis(
        folder=search.folder,
        snapshot=ground.snapshot,
        writer=writer,
        live=search.live,
        judge=ground.judge,
        database=ground.database,
        config=ground.config,
    ).run()


async def test_a_written_question_becomes_a_pair_that_no_person_vouches_for(
    database: Database, tmp_path: Path
) -> None:
    made = await make(await ground(database, tmp_path), StubWriter())
    assert made.outcomes == {"pair": 5}
    row = made.pairs[0]
    assert (row.origin, row.vouched, row.weight, row.judge) == (
        "synthetic",
        "neither",
        0.3,
        "FakeJudge",
    )
    assert row.margin == 1.0
    assert row.chosen.token_ids != row.rejected.token_ids


async def test_the_live_version_is_asked_the_new_question_twice_with_the_recorded_parameters(
    database: Database, tmp_path: Path
) -> None:
    scene = await ground(database, tmp_path, questions=1)
    await make(scene, StubWriter())
    assert [question for _, question in scene.chat.asked] == [WRITTEN[0]] * 2
    assert {request["temperature"] for request in scene.chat.requests} == {1.0}


async def test_nothing_is_written_where_the_share_is_zero(
    database: Database, tmp_path: Path
) -> None:
    writer = StubWriter()
    made = await make(await ground(database, tmp_path, share=0.0), writer)
    assert (made.pairs, made.outcomes, writer.prompts) == ([], {}, [])


@pytest.mark.parametrize(
    "repeated",
    ["When is the shop open?", "when is the shop  OPEN", "When is the shop open on a day?"],
)
async def test_a_question_that_nearly_repeats_a_real_one_is_left_out(
    database: Database, tmp_path: Path, repeated: str
) -> None:
    scene = await ground(database, tmp_path, questions=1, similarity=0.5)
    made = await make(scene, StubWriter([repeated]))
    assert (made.outcomes, scene.chat.asked) == ({"near_duplicate": 1}, [])


async def test_a_held_out_question_is_never_asked(database: Database, tmp_path: Path) -> None:
    scene = await ground(database, tmp_path, questions=1)
    hold_out(scene, WRITTEN[0])
    assert (await make(scene, StubWriter())).outcomes == {"near_duplicate": 1}


async def test_a_question_is_written_once(database: Database, tmp_path: Path) -> None:
    scene = await ground(database, tmp_path, questions=3)
    made = await make(scene, StubWriter([WRITTEN[0]] * 3))
    assert made.outcomes == {"pair": 1, "near_duplicate": 2}


@pytest.mark.parametrize("question", ["Why?", "so " * 301, ""])
async def test_a_question_of_the_wrong_length_is_left_out(
    database: Database, tmp_path: Path, question: str
) -> None:
    scene = await ground(database, tmp_path, questions=1)
    assert (await make(scene, StubWriter([question]))).outcomes == {"length": 1}


async def test_a_question_that_cannot_be_answered_is_left_out(
    database: Database, tmp_path: Path
) -> None:
    scene = await ground(database, tmp_path, questions=1)
    made = await make(scene, StubWriter(answerable=False))
    assert (made.outcomes, scene.chat.asked) == ({"unanswerable": 1}, [])


async def test_a_writer_without_a_reply_costs_its_question_only(
    database: Database, tmp_path: Path
) -> None:
    scene = await ground(database, tmp_path, questions=2)
    assert (await make(scene, StubWriter(WRITTEN[:1]))).outcomes == {"pair": 1, "no_question": 1}


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (lambda question, _: f"answer to {question}", "identical"),
        (lambda question, time: f"answer {time} to {question}", "no_winner"),
    ],
)
async def test_answers_that_do_not_differ_clearly_make_no_pair(
    database: Database, tmp_path: Path, texts: Any, reason: str
) -> None:
    scene = await ground(database, tmp_path, questions=1)
    scene.chat.texts = texts
    assert (await make(scene, StubWriter())).outcomes == {reason: 1}


async def test_a_better_answer_that_was_cut_off_makes_no_pair(
    database: Database, tmp_path: Path
) -> None:
    scene = await ground(database, tmp_path, questions=1)
    scene.chat.finish_reason = "length"
    assert (await make(scene, StubWriter())).outcomes == {"truncated": 1}


async def test_work_that_is_resumed_repeats_nothing(database: Database, tmp_path: Path) -> None:
    scene = await ground(database, tmp_path)
    once = await make(scene, StubWriter())
    asked, writer = len(scene.chat.asked), StubWriter()
    assert await make(scene, writer) == once
    assert (len(scene.chat.asked), writer.prompts) == (asked, [])


async def test_the_time_of_a_run_counts_across_restarts(database: Database, tmp_path: Path) -> None:
    scene = await ground(database, tmp_path, seconds=5.0)
    search = scene.search()
    await make(scene, StubWriter())
    kept = search.folder / QUESTIONS
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    kept.write_text(json.dumps({**rows[0], "seconds": 6.0}) + "\n")
    assert (await make(scene, StubWriter())).outcomes == {"pair": 1, "over_budget": 4}


class OneReply:
    """A chat endpoint that says the same to everything."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.requests: list[Mapping[str, Any]] = []

    async def answer(self, *, model: str, request: Mapping[str, Any]) -> Answer:
        assert model == "pawl@base"
        self.requests.append(request)
        if not self.text:
            raise ChatError("refused")
        return Answer(self.text, "stop", "x", 1)


PROMPT: Prompt = [{"role": "user", "content": "material"}]


async def test_the_live_version_writes_within_a_schema(database: Database) -> None:
    chat = OneReply('{"question": "Why?"}')
    written = await LiveWriter(chat, "pawl@base").ask(PROMPT, WrittenQuestion)
    assert written.question == "Why?"
    schema = chat.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["question"]


@pytest.mark.parametrize("text", ["", "Why?", '{"answer": 1}'])
async def test_a_live_version_that_cannot_write_raises_an_error_without_its_text(
    database: Database, text: str
) -> None:
    with pytest.raises(WriterError) as raised:
        await LiveWriter(OneReply(text), "pawl@base").ask(PROMPT, WrittenQuestion)
    assert "Why" not in str(raised.value)


async def test_an_endpoint_writes_with_a_high_temperature(database: Database) -> None:
    sent: list[dict[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        content = json.dumps({"question": "Why?"})
        return httpx.Response(200, json={"choices": [{"message": {"content": content}}]})

    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    endpoint = ModelEndpoint(base_url="http://writer/v1", model="author")
    assert (await EndpointWriter(endpoint, client).ask(PROMPT, WrittenQuestion)).question == "Why?"
    assert sent[0]["temperature"] == 1.0


def test_lengths_that_keep_no_question_are_refused(backend: str) -> None:
    with pytest.raises(ValidationError, match="shortest"):
        SyntheticConfig(shortest=10, longest=5)
