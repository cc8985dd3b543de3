"""LangChain applications against a running server: each answer one row, and each can be rated."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from pawl_client.callback import FeedbackCallback
from pawl_client.testing import StandIn, stand_in_server

from tests.integration.processes.serving_process import UNSUPERVISED, ServingProcess, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("langchain")]

PROMPT = ChatPromptTemplate.from_messages([("system", "be kind"), ("user", "about {thing}")])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    with serving(tmp_path_factory.mktemp("langchain") / "data", UNSUPERVISED) as started:
        yield started


@pytest.fixture
def callback(server: ServingProcess) -> Iterator[FeedbackCallback]:
    made = FeedbackCallback(url=server.server.url, api_key=server.server.token)
    yield made
    made.close()


Client = httpx.Client | httpx.AsyncClient
Make = Callable[[Client], Any]
Way = Callable[[Make, Any, RunnableConfig], None]


def chat_openai(url: str, key: str, client: Client) -> ChatOpenAI:
    """A chat model on a client that the test closes."""
    kind = "http_client" if isinstance(client, httpx.Client) else "http_async_client"
    return ChatOpenAI(
        base_url=f"{url}/v1",
        api_key=lambda: key,
        model="pawl",
        max_retries=0,
        include_response_headers=True,
        **{kind: client},
    )


def pawl(server: ServingProcess, client: Client) -> ChatOpenAI:
    return chat_openai(server.server.url, server.server.token, client)


def _invoke(make: Make, asked: Any, config: RunnableConfig) -> None:
    with httpx.Client() as client:
        make(client).invoke(asked, config)


def _stream(make: Make, asked: Any, config: RunnableConfig) -> None:
    with httpx.Client() as client:
        list(make(client).stream(asked, config))


async def _ainvoke(make: Make, asked: Any, config: RunnableConfig) -> None:
    async with httpx.AsyncClient() as client:
        await make(client).ainvoke(asked, config)


async def _astream(make: Make, asked: Any, config: RunnableConfig) -> None:
    async with httpx.AsyncClient() as client:
        async for _ in make(client).astream(asked, config):
            pass


WAYS: dict[str, Way] = {
    "invoke": _invoke,
    "stream": _stream,
    "ainvoke": lambda *asked: asyncio.run(_ainvoke(*asked)),
    "astream": lambda *asked: asyncio.run(_astream(*asked)),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def interactions(server: ServingProcess) -> set[str]:
    connection = sqlite3.connect(server.data_dir / "pawl.db")
    try:
        return {row[0] for row in connection.execute("SELECT id FROM interaction")}
    finally:
        connection.close()


def rated(server: ServingProcess, identifier: str) -> dict[str, Any]:
    with server.client() as client:
        answer = client.get(f"/v1/interactions/{identifier}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    assert [(said["metric_name"], said["value"]) for said in found["feedback"]] == [
        ("thumbs", True)
    ]
    return found


def asked_and_rated(
    server: ServingProcess, callback: FeedbackCallback, ask: Callable[[RunnableConfig], object]
) -> dict[str, Any]:
    """The one interaction that `ask` makes, after it was rated by LangChain's run id."""
    before, run_id = interactions(server), uuid4()
    ask(RunnableConfig(callbacks=[callback], run_id=run_id, metadata={"user": "anna"}))
    callback.rate(run_id, "thumbs", value=True)
    assert callback.flush()
    (made,) = interactions(server) - before
    assert callback.interaction_id(run_id) == made
    assert callback.counts["failed"] == 0
    return rated(server, made)


@ways
def test_an_answer_of_pawl_is_one_row_and_can_be_rated(
    server: ServingProcess, callback: FeedbackCallback, way: Way
) -> None:
    def ask(config: RunnableConfig) -> None:
        way(lambda client: pawl(server, client), "about roses", config)

    row = asked_and_rated(server, callback, ask)
    assert (row["mode"], row["version"], row["status"]) == ("live", "base", "complete")


@ways
def test_a_chain_on_pawl_is_one_row_and_is_rated_by_its_own_run(
    server: ServingProcess, callback: FeedbackCallback, way: Way
) -> None:
    def ask(config: RunnableConfig) -> None:
        way(lambda client: PROMPT | pawl(server, client), {"thing": "roses"}, config)

    row = asked_and_rated(server, callback, ask)
    assert row["mode"] == "live"
    assert row["request"]["messages"][0]["content"] == "be kind"


@ways
def test_a_chain_on_another_model_is_reported_and_can_be_rated(
    server: ServingProcess, callback: FeedbackCallback, way: Way
) -> None:
    chain = PROMPT | FakeListChatModel(responses=["Water them."])

    def ask(config: RunnableConfig) -> None:
        way(lambda _: chain, {"thing": "roses"}, config)

    row = asked_and_rated(server, callback, ask)
    assert (row["mode"], row["version"], row["status"], row["user"]) == (
        "external",
        None,
        "complete",
        "anna",
    )
    assert [choice["text"] for choice in row["choices"]] == ["Water them."]
    assert row["request"]["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "about roses"},
    ]


@ways
def test_another_openai_server_is_reported_and_can_be_rated(
    server: ServingProcess, callback: FeedbackCallback, way: Way
) -> None:
    with stand_in_server(StandIn(model="somebody-elses")) as other:

        def ask(config: RunnableConfig) -> None:
            make = partial(chat_openai, other.url, "none")
            way(lambda client: make(client).bind(model="any"), "about", config)

        row = asked_and_rated(server, callback, ask)
    assert (row["mode"], row["model"]) == ("external", "somebody-elses")


def test_a_report_sent_twice_is_one_row(server: ServingProcess) -> None:
    before = interactions(server)
    body = {
        "model": "elsewhere",
        "messages": [{"role": "user", "content": "hi"}],
        "choices": [{"text": "ho"}],
        "run_id": "one-run",
    }
    with server.client() as client:
        ids = {client.post("/v1/interactions", json=body).json()["inference_id"] for _ in range(2)}
    assert ids == interactions(server) - before
    assert len(ids) == 1


def test_what_pawl_answered_cannot_be_overwritten_by_a_report(server: ServingProcess) -> None:
    with server.client() as client:
        chat = {"model": "pawl", "messages": [{"role": "user", "content": "hi"}]}
        answered = client.post("/v1/chat/completions", json=chat).json()
        body = {**chat, "model": "elsewhere", "choices": [{"text": "no"}], "id": answered["id"]}
        assert client.post("/v1/interactions", json=body).status_code == 200
        row = client.get(f"/v1/interactions/{answered['id']}").json()
    assert row["choices"][0]["text"] == answered["choices"][0]["message"]["content"]
    assert row["mode"] == "live"


def test_the_log_of_the_server_quotes_nobody(server: ServingProcess) -> None:
    assert "roses" not in Path(server.data_dir.parent / "serve.log").read_text()
