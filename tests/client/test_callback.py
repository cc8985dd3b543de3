"""The LangChain handler, driven by LangChain's own OpenAI client over HTTP."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from pawl_client.callback import FeedbackCallback
from pawl_client.testing import WORDS, StandIn, stand_in_server

from feedback.config import FeedbackConfig
from feedback.records import InteractionRecord
from feedback.reported import check_external
from feedback.schemas import InteractionIn
from tests.feedback.examples import interaction

OTHER = "somebody-elses-model"
ANSWER = "".join(WORDS)


@pytest.fixture
def pawl() -> Iterator[StandIn]:
    with stand_in_server(StandIn()) as stand_in:
        yield stand_in


@pytest.fixture
def other() -> Iterator[StandIn]:
    with stand_in_server(StandIn(model=OTHER)) as stand_in:
        yield stand_in


@pytest.fixture
def callback(request: pytest.FixtureRequest) -> Iterator[FeedbackCallback]:
    name = "other" if "other" in request.fixturenames else "pawl"
    made = FeedbackCallback(url=request.getfixturevalue(name).url + "/v1", api_key="k")
    yield made
    made.close()


def chat(stand_in: StandIn, **fields: Any) -> ChatOpenAI:
    fields = {"model": "pawl" if stand_in.is_pawl else OTHER, **fields}
    return ChatOpenAI(
        base_url=f"{stand_in.url}/v1", api_key=lambda: "none", max_retries=0, **fields
    )


async def _ainvoke(model: Any, asked: Any, config: Any) -> None:
    await model.ainvoke(asked, config)


async def _astream(model: Any, asked: Any, config: Any) -> None:
    async for _ in model.astream(asked, config):
        pass


WAYS: dict[str, Callable[[Any, Any, Any], object]] = {
    "invoke": lambda model, asked, config: model.invoke(asked, config),
    "stream": lambda model, asked, config: list(model.stream(asked, config)),
    "ainvoke": lambda model, asked, config: asyncio.run(_ainvoke(model, asked, config)),
    "astream": lambda model, asked, config: asyncio.run(_astream(model, asked, config)),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def run_of(callback: FeedbackCallback, **metadata: str) -> tuple[UUID, RunnableConfig]:
    run_id = uuid4()
    return run_id, RunnableConfig(callbacks=[callback], run_id=run_id, metadata=metadata)


@ways
def test_pawls_own_answer_is_found_and_not_reported_again(
    pawl: StandIn, callback: FeedbackCallback, way: Callable[..., object]
) -> None:
    run_id, config = run_of(callback)
    way(chat(pawl, include_response_headers=True), "hi", config)
    assert callback.interaction_id(run_id) == "chatcmpl-0"
    assert callback.flush()
    assert pawl.interactions == []


def test_an_answer_that_was_not_streamed_needs_no_headers(
    pawl: StandIn, callback: FeedbackCallback
) -> None:
    run_id, config = run_of(callback)
    chat(pawl).invoke("hi", config)
    assert callback.interaction_id(str(run_id)) == "chatcmpl-0"


@pytest.mark.parametrize(
    "version", ["base", "2026-w47-3f9c1a", "2026-w47.12-3f9c1a", "import-0a1b2c"]
)
def test_an_answer_on_any_channel_of_pawl_is_not_reported_again(
    pawl: StandIn, callback: FeedbackCallback, version: str
) -> None:
    pawl.model = f"shop@{version}"
    run_id, config = run_of(callback)
    chat(pawl, model="shop").invoke("hi", config)
    assert callback.flush()
    assert pawl.interactions == []
    assert callback.interaction_id(run_id) == "chatcmpl-0"


def test_another_makers_model_may_have_an_at_in_its_name(
    other: StandIn, callback: FeedbackCallback
) -> None:
    other.model = "claude-3-5-sonnet@20240620"
    chat(other).invoke("hi", run_of(callback)[1])
    assert callback.flush()
    assert [reported["model"] for reported in other.interactions] == [other.model]


def test_several_choices_are_one_interaction(pawl: StandIn, callback: FeedbackCallback) -> None:
    run_id, config = run_of(callback)
    chat(pawl, n=2).invoke("hi", config)
    assert callback.interaction_id(run_id) == "chatcmpl-0"


def test_a_hidden_id_is_told_once(
    pawl: StandIn, callback: FeedbackCallback, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        run_id, config = run_of(callback)
        list(chat(pawl).stream("hi", config))
        assert callback.interaction_id(run_id) is None
    callback.flush()
    assert pawl.interactions == []
    assert [record.message for record in caplog.records if "interaction id" in record.message] == [
        "no interaction id: give the chat model include_response_headers=True"
    ]


@ways
def test_another_models_answer_is_reported_once(
    other: StandIn, callback: FeedbackCallback, way: Callable[..., object]
) -> None:
    run_id, config = run_of(callback, user="anna")
    way(chat(other), [("system", "be kind"), ("user", "hi")], config)
    assert callback.flush()
    (reported,) = other.interactions
    assert reported["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
    ]
    assert reported["choices"] == [{"text": ANSWER, "finish_reason": "stop"}]
    assert (reported["model"], reported["user"], reported["run_id"], reported["status"]) == (
        OTHER,
        "anna",
        str(run_id),
        "complete",
    )
    assert callback.interaction_id(run_id) == "chatcmpl-external-1"


def test_the_report_is_what_the_server_takes(other: StandIn, callback: FeedbackCallback) -> None:
    for way in (WAYS["invoke"], WAYS["stream"]):
        way(chat(other), "hi", run_of(callback)[1])
    callback.flush()
    assert len(other.interactions) == 2
    for reported in other.interactions:
        check_external(InteractionIn.model_validate(reported), FeedbackConfig())


def test_a_chain_is_rated_by_its_own_run(other: StandIn, callback: FeedbackCallback) -> None:
    chain = ChatPromptTemplate.from_messages([("user", "about {thing}")]) | chat(other)
    run_id, config = run_of(callback)
    chain.invoke({"thing": "roses"}, config)
    callback.rate(run_id, "thumbs", value=True, rater="anna")
    assert callback.flush()
    (rated,) = other.feedback
    assert rated["inference_id"] == "chatcmpl-external-1"
    assert (rated["metric_name"], rated["value"], rated["rater"]) == ("thumbs", True, "anna")
    assert rated["id"]


def test_pawls_own_answer_can_be_rated(pawl: StandIn, callback: FeedbackCallback) -> None:
    run_id, config = run_of(callback)
    chat(pawl).invoke("hi", config)
    callback.rate(run_id, "rating", 4)
    assert callback.flush()
    assert [rated["inference_id"] for rated in pawl.feedback] == ["chatcmpl-0"]


def test_runs_are_compared_by_their_run_ids(pawl: StandIn, callback: FeedbackCallback) -> None:
    runs = []
    for _ in range(3):
        run_id, config = run_of(callback)
        chat(pawl).invoke("hi", config)
        runs.append(run_id)
    one, other, third = runs
    callback.prefer(one, other, rater="ada")
    callback.tie(one, str(other), other_choice=0)
    callback.both_bad(other, one, choice=0)
    callback.rank([third, [one, other]])
    assert callback.flush()
    said = [(body["inference_id"], body["metric_name"], body["value"]) for body in pawl.feedback]
    a, b, c = (f"chatcmpl-{number}" for number in range(3))
    assert said == [
        (a, "preference", {"over": b}),
        (a, "preference", {"tie": b, "choice": 0}),
        (b, "preference", {"both_bad": a}),
        (c, "ranking", [c, [a, b]]),
    ]


def test_a_comparison_with_an_unknown_run_is_counted(
    pawl: StandIn, callback: FeedbackCallback
) -> None:
    run_id, config = run_of(callback)
    chat(pawl).invoke("hi", config)
    callback.tie(run_id, uuid4())
    callback.rank([run_id, uuid4()])
    callback.rank([])
    assert callback.flush()
    assert callback.counts == {"sent": 0, "waiting": 0, "failed": 3, "dropped": 0}
    assert pawl.feedback == []


def test_a_rating_of_an_unknown_run_is_counted(pawl: StandIn, callback: FeedbackCallback) -> None:
    callback.rate(uuid4(), "thumbs", value=True)
    assert callback.flush()
    assert callback.counts == {"sent": 0, "waiting": 0, "failed": 1, "dropped": 0}


def test_streams_that_share_a_handler_keep_their_ids(
    pawl: StandIn, callback: FeedbackCallback
) -> None:
    model = chat(pawl, include_response_headers=True)
    runs = {run_of(callback)[0]: f"question {number}" for number in range(16)}

    def ask(run_id: UUID) -> None:
        list(model.stream(runs[run_id], {"callbacks": [callback], "run_id": run_id}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, runs))
    asked = {run_id: pawl.questions[callback.interaction_id(run_id) or ""] for run_id in runs}
    assert asked == runs


def test_async_streams_that_share_a_handler_keep_their_ids(
    pawl: StandIn, callback: FeedbackCallback
) -> None:
    runs = {uuid4(): f"question {number}" for number in range(16)}

    async def ask_all() -> None:
        model = chat(pawl, include_response_headers=True)
        configs = [{"callbacks": [callback], "run_id": run_id} for run_id in runs]
        questions = zip(runs.values(), configs, strict=True)
        await asyncio.gather(*(_astream(model, asked, config) for asked, config in questions))

    asyncio.run(ask_all())
    asked = {run_id: pawl.questions[callback.interaction_id(run_id) or ""] for run_id in runs}
    assert asked == runs


def test_a_failed_answer_is_reported_as_failed(other: StandIn, callback: FeedbackCallback) -> None:
    other.failing_chats = 1
    with pytest.raises(Exception, match="400"):
        chat(other).invoke("hi", run_of(callback)[1])
    callback.flush()
    assert [(row["status"], row["choices"]) for row in other.interactions] == [("failed", [])]


def test_a_stream_that_is_left_is_reported_as_aborted(
    other: StandIn, callback: FeedbackCallback
) -> None:
    stream = chat(other).stream("hi", run_of(callback)[1])
    next(stream)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    callback.flush()
    (reported,) = other.interactions
    assert reported["status"] == "aborted"
    assert reported["choices"][0]["text"] == WORDS[0]


def test_a_server_that_is_busy_is_asked_again(other: StandIn) -> None:
    other.unavailable = 2
    callback = FeedbackCallback(url=other.url)
    chat(other).invoke("hi", run_of(callback)[1])
    assert callback.flush()
    assert callback.counts == {"sent": 1, "waiting": 0, "failed": 0, "dropped": 0}
    callback.close()


def test_what_does_not_fit_the_queue_is_dropped_and_counted(other: StandIn) -> None:
    def never(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("away")

    client = httpx.Client(base_url="http://away", transport=httpx.MockTransport(never))
    callback = FeedbackCallback(client=client, queue_max=1)
    for _ in range(4):
        chat(other).invoke("hi", run_of(callback)[1])
    assert callback.counts["dropped"] >= 2
    callback.close(timeout=0)


def test_a_broken_server_reply_does_not_end_the_reports(other: StandIn) -> None:
    fine = {"results": [{"inference_id": "fine"}]}
    replies = iter([httpx.Response(200, text="nonsense"), httpx.Response(422, json={})])

    def reply(_: httpx.Request) -> httpx.Response:
        return next(replies, httpx.Response(200, json=fine))

    client = httpx.Client(base_url="http://odd", transport=httpx.MockTransport(reply))
    callback = FeedbackCallback(client=client)
    for _ in range(3):
        chat(other).invoke("hi", run_of(callback)[1])
        assert callback.flush()  # each in a request of its own
    assert callback.counts == {"sent": 1, "waiting": 0, "failed": 2, "dropped": 0}
    callback.close()


@pytest.mark.parametrize("given", [{}, {"url": "http://x", "record": print}])
def test_a_handler_has_one_sink(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either"):
        FeedbackCallback(**given)


def in_process() -> tuple[FeedbackCallback, list[InteractionRecord]]:
    recorded: list[InteractionRecord] = []

    def record(row: InteractionRecord) -> asyncio.Future[Any]:
        recorded.append(row)
        return asyncio.get_running_loop().create_future()

    return FeedbackCallback(record=record), recorded


@pytest.mark.anyio
async def test_the_server_drives_it_with_its_own_record() -> None:
    callback, recorded = in_process()
    record = interaction(status="aborted")
    run_id = callback.begin(record)
    record.status = "complete"
    assert isinstance(callback.finish(run_id), asyncio.Future)
    assert recorded == [record]
    assert recorded[0] is record


@pytest.mark.anyio
async def test_an_error_of_the_server_is_recorded_by_its_class() -> None:
    callback, recorded = in_process()
    run_id = callback.begin(interaction())
    callback.on_llm_error(TimeoutError("with somebody's text"), run_id=run_id)
    assert [(row.status, row.error) for row in recorded] == [("failed", "TimeoutError")]


def test_it_needs_langchain_core_and_httpx_only() -> None:
    heavy = {"sqlalchemy", "sqlmodel", "pydantic_settings", "structlog", "fastapi", "aiosqlite"}
    code = f"import sys, pawl_client.callback; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
