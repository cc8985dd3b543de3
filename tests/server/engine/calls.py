"""Calls to an engine, and what came back, in short."""

import json
import secrets
from contextlib import aclosing
from pathlib import Path
from typing import Any

from adapters.names import BASE
from server.engine.base import EngineCall, EngineResponse, EventStream, Tap
from tests.tiny_model import make_random_adapter

PROMPT = "When do the tomatoes ripen?"


def fresh_name() -> str:
    """A version's name that no test has used."""
    return f"2026-w47-{secrets.token_hex(3)}"


def random_adapter(folder: Path, base: Path) -> Path:
    """An adapter like no other."""
    return make_random_adapter(folder, base=base, seed=secrets.randbits(32))


def chat(version: str = BASE, *, channel: str = "pawl", **body: Any) -> EngineCall:
    """A short greedy chat; `body` adds and overrules."""
    defaults = {
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 12,
        "temperature": 0,
    }
    return EngineCall(
        id=f"chatcmpl-{secrets.token_hex(16)}",
        endpoint="chat",
        model=f"{channel}@{version}",
        version=version,
        body=defaults | body,
        tap=Tap(),
        cache_salt="tenant/one",
    )


def completion(version: str = BASE, **body: Any) -> EngineCall:
    """A short greedy completion."""
    defaults = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    return EngineCall(
        id=f"cmpl-{secrets.token_hex(16)}",
        endpoint="completion",
        model=f"pawl@{version}",
        version=version,
        body=defaults | body,
        tap=Tap(),
    )


def body_of(response: EngineResponse) -> dict[str, Any]:
    """The JSON of an answer that is not streamed."""
    assert response.body is not None
    body: dict[str, Any] = json.loads(response.body)
    return body


def stream_of(response: EngineResponse) -> EventStream:
    """The stream of an answer."""
    assert response.stream is not None, response.body
    return response.stream


async def events_of(response: EngineResponse) -> list[dict[str, Any]]:
    """All events of a stream but the last, which is `[DONE]`."""
    async with aclosing(stream_of(response)) as stream:
        events = [event async for event in stream]
    assert events[-1] == "data: [DONE]\n\n"
    assert all(event.startswith("data: ") and event.endswith("\n\n") for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def choice_text(choice: dict[str, Any]) -> str:
    """The text of a choice of a body or of a chunk, chat or completion."""
    holder = choice.get("message") or choice.get("delta") or choice
    text: str = holder.get("content") or holder.get("text") or ""
    return text


def streamed_text(events: list[dict[str, Any]], index: int = 0) -> str:
    """What the events' deltas for one choice add up to."""
    choices = (choice for event in events for choice in event["choices"])
    return "".join(choice_text(choice) for choice in choices if choice["index"] == index)
