"""Helpers for the tests of comparisons."""

import json
from pathlib import Path
from typing import Any, TypedDict

import httpx

from tests.adapters.adapter_files import make_adapter
from tests.server.running_app import RunningApp, chat_body
from tests.server.serving.test_last_byte import database_of, rows

PATH = "/v1/comparisons"
SECRET = "the-clients-own-words"


class Who(TypedDict):
    """Who changes a route, and why."""

    actor: str
    reason: str


WHO: Who = {"actor": "a test", "reason": "a test"}


async def version(running: RunningApp, folder: Path, seed: int) -> str:
    """A new candidate."""
    adapter = make_adapter(folder / f"adapter {seed}", seed=seed)
    added = await running.operator.post("/v1/adapters", json={"path": str(adapter)})
    name: str = added.json()["name"]
    return name


async def compare(running: RunningApp, **fields: Any) -> httpx.Response:
    return await running.anyone.post(PATH, json=chat_body(**fields))


def text_of(side: dict[str, Any]) -> str:
    found: str = side["response"]["choices"][0]["message"]["content"]
    return found


def events(text: str) -> list[Any]:
    """The data of a stream's events, decoded; without the end, which must be there."""
    *found, end = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert end == "[DONE]"
    return [json.loads(line) for line in found]


def ids_of(answer: httpx.Response) -> list[str]:
    """Both interactions, a's first."""
    if answer.headers["content-type"] == "application/json":
        return [side["interaction"] for side in answer.json()["sides"]]
    found = {event["side"]: event["chunk"]["id"] for event in events(answer.text)}
    return [found["a"], found["b"]]


async def shown(running: RunningApp, identifier: str) -> dict[str, Any]:
    found = await running.anyone.get(f"/v1/interactions/{identifier}")
    assert found.status_code == 200
    row: dict[str, Any] = found.json()
    return row


async def vote(running: RunningApp, winner: str, loser: str, **fields: Any) -> None:
    word = {"metric_name": "preference", "value": {"over": loser}, **fields}
    told = await running.anyone.post("/v1/feedback", json={"inference_id": winner, **word})
    assert told.status_code == 200


def recorded(running: RunningApp, column: str) -> dict[str, Any]:
    """A column of the interactions, by id."""
    return dict(rows(database_of(running), f"SELECT id, {column} FROM interaction"))  # noqa: S608
