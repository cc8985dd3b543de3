"""The weekly run's own way to the chat endpoint."""

import asyncio

import pytest
from fastapi import FastAPI

from retrain.ports import ChatUnavailableError
from server.assembly import evaluation_chat
from server.assembly.evaluation_chat import InternalChat

pytestmark = pytest.mark.anyio


async def test_an_answer_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_chat, "TIMEOUT_SECONDS", 0.05)
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def starved() -> None:
        await asyncio.Event().wait()

    chat = InternalChat(app, "token")
    async with asyncio.timeout(10):
        with pytest.raises(ChatUnavailableError, match="no answer within"):
            await chat.answer(model="pawl@base", request={"messages": []})
    await chat.close()
