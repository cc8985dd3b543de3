"""`store: false`: what the client did not want stored is not kept as text."""

from pathlib import Path
from typing import Any

import pytest

from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import asked_prompts
from tests.server.api.test_chat import CHAT, events, stored
from tests.server.comparing import compare, ids_of, shown, vote
from tests.server.running_app import QUESTION, RunningApp, chat_body
from tests.server.serving.test_last_byte import database_of, rows
from tests.server.shadowing import counted

pytestmark = pytest.mark.anyio

SECRET = "the-clients-own-words"
ASKED = [{"role": "user", "content": SECRET}]


def on_disk(folder: Path) -> bytes:
    """All that the database's files hold."""
    return b"".join(file.read_bytes() for file in folder.rglob("pawl.db*"))


@pytest.mark.parametrize("stream", [False, True])
async def test_the_numbers_stay_and_the_texts_do_not(running: RunningApp, stream: bool) -> None:
    body = chat_body(messages=ASKED, user="ada", metadata={"a": SECRET}, n=2, stream=stream)
    kept = await running.anyone.post(CHAT, json=body)
    answer = await running.anyone.post(CHAT, json={**body, "store": False})
    of_kept = await stored(running, kept.headers["x-pawl-interaction"])
    row = await stored(running, answer.headers["x-pawl-interaction"])
    assert row["request"] is None
    assert [choice["text"] for choice in row["choices"]] == [None, None]
    assert row["texts_removed_at"] == row["received_at"]
    same = ("status", "user", "prompt_tokens", "completion_tokens", "version")
    assert {name: row[name] for name in same} == {name: of_kept[name] for name in same}
    assert row["prompt_tokens"] > 0
    tokens = [choice["tokens"] for choice in row["choices"]]
    assert tokens == [choice["tokens"] for choice in of_kept["choices"]]


async def test_neither_words_nor_token_ids_are_in_the_database(
    running: RunningApp, tmp_path: Path
) -> None:
    answer = await running.anyone.post(CHAT, json=chat_body(messages=ASKED, store=False))
    said = answer.json()["choices"][0]["message"]["content"]
    identifier = answer.json()["id"]
    for query in (
        "SELECT prompt_token_ids FROM interaction WHERE id = '{}'",
        "SELECT token_ids FROM choice WHERE interaction_id = '{}'",
    ):
        assert rows(database_of(running), query.format(identifier)) == [(None,)]
    written = on_disk(tmp_path)
    assert SECRET.encode() not in written
    assert said.encode() not in written


@pytest.mark.parametrize("store", [True, None])
async def test_without_it_or_with_true_the_texts_are_kept(
    running: RunningApp, store: bool | None
) -> None:
    answer = await running.anyone.post(CHAT, json=chat_body(store=store))
    assert (await stored(running, answer.json()["id"]))["request"]["messages"] == [QUESTION]


@pytest.mark.parametrize("store", ["false", 0, {"a": SECRET}])
async def test_another_value_is_refused_by_name_and_not_kept_either(
    running: RunningApp, store: Any
) -> None:
    answer = await running.anyone.post(CHAT, json=chat_body(messages=ASKED, store=store))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "store")
    row = await stored(running, answer.headers["x-pawl-interaction"])
    assert (row["status"], row["request"]) == ("failed", None)


async def test_it_can_be_rated(running: RunningApp) -> None:
    answer = await running.anyone.post(CHAT, json=chat_body(store=False))
    identifier = answer.json()["id"]
    thumb = {"inference_id": identifier, "metric_name": "thumbs", "value": True}
    assert (await running.anyone.post("/v1/feedback", json=thumb)).status_code == 200
    assert [one["value"] for one in (await stored(running, identifier))["feedback"]] == [True]


async def test_it_is_not_shadowed(shadowed: tuple[RunningApp, str]) -> None:
    running, _ = shadowed
    await running.anyone.post(CHAT, json=chat_body(store=False))
    assert await counted(running) == {}


async def test_it_is_no_question_of_the_evaluation(running: RunningApp) -> None:
    await running.anyone.post(CHAT, json=chat_body(user="kept"))
    await running.anyone.post(CHAT, json=chat_body(user="not kept", store=False))
    window = LogWindow("pawl", None, None, running.services.clock())
    found = asked_prompts(running.services.database, window, lambda *_: True)
    assert [prompt.requester async for prompt in found] == ["kept"]


async def test_a_comparisons_sides_are_not_kept_and_can_be_voted_on(running: RunningApp) -> None:
    answer = await compare(running, store=False, messages=ASKED)
    first, second = ids_of(answer)
    await vote(running, first, second)
    for side in (first, second):
        assert (await shown(running, side))["request"] is None


async def test_tokens_of_what_is_not_kept_are_counted(running: RunningApp) -> None:
    await running.anyone.post(CHAT, json=chat_body(store=False))
    metrics = (await running.anyone.get("/metrics")).text
    line = 'pawl_tokens_total{channel="pawl",direction="completion",version="base"}'
    (count,) = (one for one in metrics.splitlines() if one.startswith(line))
    assert float(count.rpartition(" ")[2]) > 0


async def test_a_stream_that_is_not_kept_says_all_it_says_otherwise(running: RunningApp) -> None:
    kept = await running.anyone.post(CHAT, json=chat_body(stream=True))
    other = await running.anyone.post(CHAT, json=chat_body(stream=True, store=False))
    assert [e["choices"] for e in events(kept.text)[:-1]] == [
        e["choices"] for e in events(other.text)[:-1]
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call_is_not_kept_either(running: RunningApp, stream: bool) -> None:
    tool = {"type": "function", "function": {"name": SECRET}}
    body = chat_body(tools=[tool], tool_choice="required", stream=stream, store=False)
    answer = await running.anyone.post(CHAT, json=body)
    row = await stored(running, answer.headers["x-pawl-interaction"])
    assert SECRET in answer.text
    assert SECRET not in str(row)
