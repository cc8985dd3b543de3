"""LangChain applications with the callback against a running server, over HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from pawl_client.callback import FeedbackCallback
from pawl_client.testing import WORDS, StandIn, stand_in_server
from sqlmodel import select

from feedback.models import Feedback, Interaction
from tests.server.running_app import RunningApp

pytestmark = pytest.mark.anyio

Way = Callable[[Runnable[Any, Any], Any, Any], object]
WAYS: dict[str, Way] = {
    "invoke": lambda model, asked, config: model.invoke(asked, config),
    "stream": lambda model, asked, config: list(model.stream(asked, config)),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@asynccontextmanager
async def listening(running: RunningApp) -> AsyncIterator[str]:
    """The app on a real port; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(running.app, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def ask_and_rate(way: Way, chain: Runnable[Any, Any], asked: object, pawl: str) -> str | None:
    """An application: one question, one rating; the interaction that it believes it was."""
    callback = FeedbackCallback(url=pawl)
    run_id = uuid4()
    way(chain, asked, {"callbacks": [callback], "run_id": run_id, "metadata": {"user": "anna"}})
    callback.rate(run_id, "thumbs", value=True, rater="anna")
    assert callback.close()
    assert callback.counts["failed"] == callback.counts["dropped"] == 0
    return callback.interaction_id(run_id)


async def stored(running: RunningApp) -> tuple[Interaction, Feedback]:
    """The one interaction and the one judgement in the log."""
    async with running.services.database.read() as session:
        interaction = (await session.exec(select(Interaction))).one()
        return interaction, (await session.exec(select(Feedback))).one()


@ways
async def test_what_pawl_answered_is_one_row_that_the_application_rates(
    running: RunningApp, way: Way
) -> None:
    async with listening(running) as url:
        model = ChatOpenAI(
            model="pawl",
            base_url=f"{url}/v1",
            api_key=lambda: "none",
            max_retries=0,
            include_response_headers=True,
        )
        known = await asyncio.to_thread(ask_and_rate, way, model, "When do they ripen?", url)
    interaction, judgement = await stored(running)
    assert (interaction.mode, interaction.model) == ("live", "pawl@base")
    assert known == interaction.id == judgement.interaction_id


@ways
async def test_a_chain_on_another_model_is_one_row_that_the_application_rates(
    running: RunningApp, way: Way
) -> None:
    with stand_in_server(StandIn(model="somebody-elses-model")) as other:
        model = ChatOpenAI(
            model="other", base_url=f"{other.url}/v1", api_key=lambda: "none", max_retries=0
        )
        chain = ChatPromptTemplate.from_messages([("user", "about {thing}")]) | model
        async with listening(running) as url:
            asked = {"thing": "roses"}
            known = await asyncio.to_thread(ask_and_rate, way, chain, asked, url)
            shown = await running.anyone.get(f"/v1/interactions/{known}")
    interaction, judgement = await stored(running)
    assert (interaction.mode, interaction.model) == ("external", "somebody-elses-model")
    assert known == interaction.id == judgement.interaction_id
    assert (interaction.user, interaction.version) == ("anna", None)
    assert [choice["text"] for choice in shown.json()["choices"]] == ["".join(WORDS)]
