"""Comparisons: two answers side by side, blind everywhere until voted, recorded like any other."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from feedback.reading.comparisons import decided_comparisons
from server.engine.base import EngineCall, EngineResponse
from server.engine.fake.answer import sentinel
from server.engine.fake.engine import FakeEngine
from tests.feedback.id_time import issued_at
from tests.server.comparing import (
    PATH,
    SECRET,
    WHO,
    compare,
    events,
    ids_of,
    recorded,
    shown,
    text_of,
    version,
    vote,
)
from tests.server.running_app import QUESTION, RunningApp, chat_body
from tests.server.serving.test_last_byte import database_of, rows

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shadow(running: RunningApp, tmp_path: Path) -> str:
    name = await version(running, tmp_path, 2)
    await running.services.registry.set_shadow(name, 1.0, **WHO)
    return name


async def test_two_sides_answer_under_ids_of_their_own(running: RunningApp, canary: str) -> None:
    answer = await compare(running)
    body = answer.json()
    assert (body["object"], body["channel"]) == ("comparison", "pawl")
    assert [side["side"] for side in body["sides"]] == ["a", "b"]
    assert len(set(ids_of(answer))) == 2
    assert [side["response"]["id"] for side in body["sides"]] == ids_of(answer)
    assert set(recorded(running, "comparison").values()) == {body["id"]}


@pytest.mark.parametrize("stream", [False, True])
async def test_each_side_is_recorded_with_its_real_version(
    running: RunningApp, canary: str, stream: bool
) -> None:
    identifiers = ids_of(await compare(running, stream=stream, user="ada"))
    versions = recorded(running, "version")
    assert set(versions) == set(identifiers)
    assert set(versions.values()) == {"base", canary}
    assert set(recorded(running, "role").values()) == {"comparison"}
    assert set(recorded(running, "mode").values()) == {"live"}
    assert set(recorded(running, "status").values()) == {"complete"}
    assert set(recorded(running, "trial").values()) == {None}
    assert len(set(recorded(running, "conversation").values())) == 1
    texts = dict(rows(database_of(running), "SELECT interaction_id, text FROM choice"))
    assert all(texts[one].startswith(sentinel(versions[one])) for one in identifiers)


async def test_the_text_is_that_of_the_sides_version(running: RunningApp, canary: str) -> None:
    sides = (await compare(running)).json()["sides"]
    versions = recorded(running, "version")
    for side in sides:
        assert text_of(side).startswith(sentinel(versions[side["interaction"]]))


async def test_between_says_with_whom(running: RunningApp, canary: str, shadow: str) -> None:
    compared = {
        between: {
            recorded(running, "version")[one]
            for one in ids_of(await compare(running, between=between))
        }
        for between in ("canary", "shadow", "samples")
    }
    expected = {"canary": {"base", canary}, "shadow": {"base", shadow}, "samples": {"base"}}
    assert compared == expected


async def test_without_a_canary_live_is_sampled_twice(running: RunningApp) -> None:
    await compare(running)
    assert list(recorded(running, "version").values()) == ["base", "base"]


def without_texts(answer: httpx.Response) -> str:
    """The whole answer but for what the versions said."""
    if answer.headers["content-type"] == "application/json":
        parts = [side["response"]["choices"] for side in answer.json()["sides"]]
        texts = {choice["message"]["content"] for choices in parts for choice in choices}
    else:
        chunks = [event["chunk"] for event in events(answer.text)]
        texts = {choice["delta"]["content"] for chunk in chunks for choice in chunk["choices"]}
    whole = answer.text + str(answer.headers)
    for text in sorted(texts - {""}, key=len, reverse=True):
        whole = whole.replace(json.dumps(text), '""')
    return whole


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_in_the_answer_tells_a_version(
    running: RunningApp, canary: str, stream: bool
) -> None:
    answer = await compare(running, stream=stream)
    told = without_texts(answer)
    assert not [word for word in ("base", canary, "@", "canary", "x-pawl") if word in told]
    assert '"model": "pawl"' in told


@pytest.mark.parametrize("stream", [False, True])
async def test_a_side_tells_its_version_only_after_the_vote(
    running: RunningApp, canary: str, stream: bool
) -> None:
    winner, loser = ids_of(await compare(running, stream=stream, user="ada"))
    before = [await shown(running, one) for one in (winner, loser)]
    hidden = [
        "version",
        "comparison",
        "parent",
        "first_token_seconds",
        "duration_seconds",
    ]
    for row in before:
        assert [row[field] for field in hidden] == [None] * len(hidden)
        assert (row["model"], row["role"]) == ("pawl", "comparison")
        told = json.dumps({**row, "choices": []})
        assert not [word for word in ("base", canary, "@") if word in told]
    await vote(running, winner, loser)
    after = [await shown(running, one) for one in (winner, loser)]
    assert {row["version"] for row in after} == {"base", canary}
    assert {row["model"] for row in after} == {"pawl@base", f"pawl@{canary}"}


@pytest.mark.parametrize(
    "word",
    [{"metric_name": "thumbs", "value": True}, {"metric_name": "rating", "value": 5}],
    ids=["thumbs", "rating"],
)
async def test_a_word_on_one_side_opens_nothing(
    running: RunningApp, canary: str, word: dict[str, Any]
) -> None:
    one, other = ids_of(await compare(running))
    told = await running.anyone.post("/v1/feedback", json={"inference_id": one, **word})
    assert told.status_code == 200
    assert {(await shown(running, side))["version"] for side in (one, other)} == {None}


NEITHER = [
    ("preference", lambda other, _: {"tie": other}),
    ("preference", lambda other, _: {"both_bad": other, "choice": 0}),
    ("ranking", lambda other, one: [[one, other]]),
]
"""Ways to say that neither side is better."""


@pytest.mark.parametrize("by_token", [False, True], ids=["by key", "by token"])
@pytest.mark.parametrize(("metric", "value"), NEITHER, ids=["tie", "both bad", "group"])
async def test_a_word_for_neither_side_opens_the_pair_and_is_no_win(
    running: RunningApp, canary: str, metric: str, value: Any, by_token: bool
) -> None:
    since = running.services.clock()
    mine = running.bearer(await running.key("app"))
    one, other = ids_of(await mine.post(PATH, json=chat_body(user="ada")))
    if by_token:
        token = (await mine.post("/v1/feedback-tokens", json={"inference_id": one})).json()
        speaker = running.bearer(token["token"])
    else:
        speaker = mine
    word = {"inference_id": one, "metric_name": metric, "value": value(other, one)}
    assert (await speaker.post("/v1/feedback", json=word)).status_code == 200
    told = [(await mine.get(f"/v1/interactions/{side}")).json() for side in (one, other)]
    assert {row["version"] for row in told} == {"base", canary}
    database = running.services.database
    (decided,) = await decided_comparisons(database, "pawl", ("base", canary), since)
    assert (decided.version, decided.both_bad) == (None, "both_bad" in str(word))
    figures = (await running.operator.get("/v1/pairs")).json()
    assert figures["pairs"] == 0


async def test_a_tie_with_a_third_answer_opens_nothing(running: RunningApp, canary: str) -> None:
    one, _ = ids_of(await compare(running))
    third = (await running.anyone.post("/v1/chat/completions", json=chat_body())).json()["id"]
    word = {"inference_id": one, "metric_name": "preference", "value": {"tie": third}}
    assert (await running.anyone.post("/v1/feedback", json=word)).status_code == 200
    assert (await shown(running, one))["version"] is None


async def test_a_preference_over_a_third_answer_opens_nothing(
    running: RunningApp, canary: str
) -> None:
    one, _ = ids_of(await compare(running))
    third = (await running.anyone.post("/v1/chat/completions", json=chat_body())).json()["id"]
    await vote(running, one, third)
    assert (await shown(running, one))["version"] is None


async def test_metrics_do_not_count_a_side_under_its_version(
    running: RunningApp, canary: str
) -> None:
    async def of_the_canary() -> list[str]:
        lines = (await running.anyone.get("/metrics")).text.splitlines()
        return [line for line in lines if canary in line]

    before = await of_the_canary()
    for side in ids_of(await compare(running)):
        word = {"inference_id": side, "metric_name": "thumbs", "value": True}
        await running.anyone.post("/v1/feedback", json=word)
    assert await of_the_canary() == before


async def test_ids_do_not_tell_who_came_first(running: RunningApp, canary: str) -> None:
    answer = await compare(running)
    assert len({issued_at(one) for one in ids_of(answer)}) == 1
    assert len(set(recorded(running, "received_at").values())) == 1


async def test_another_tenant_sees_neither_side(running: RunningApp, canary: str) -> None:
    mine = running.bearer(await running.key("app"))
    theirs = running.bearer(await running.key("app", "other"))
    answer = await mine.post(PATH, json=chat_body())
    one, other = ids_of(answer)
    assert (await theirs.get(f"/v1/interactions/{one}")).status_code == 404
    word = {"inference_id": one, "metric_name": "preference", "value": {"over": other}}
    assert (await theirs.post("/v1/feedback", json=word)).status_code == 404
    assert (await mine.get(f"/v1/interactions/{one}")).json()["version"] is None
    assert (await theirs.post(PATH, json=chat_body())).status_code == 404


async def test_a_preference_reaches_the_gate_and_the_pairs(
    running: RunningApp, canary: str
) -> None:
    since = running.services.clock()
    identifiers = ids_of(await compare(running, user="ada"))
    versions = recorded(running, "version")
    winner, loser = sorted(identifiers, key=lambda one: versions[one] != canary)
    await vote(running, winner, loser)
    database = running.services.database
    decided = await decided_comparisons(database, "pawl", ("base", canary), since)
    assert [(one.user, one.version) for one in decided] == [(("default", "ada"), canary)]
    exported = await running.operator.get("/v1/pairs/export", params={"format": "trl"})
    (pair,) = [json.loads(line) for line in exported.text.splitlines()]
    assert pair["signal"] == "preference"
    assert pair["chosen"][0]["content"].startswith(sentinel(canary))
    assert pair["rejected"][0]["content"].startswith(sentinel("base"))


# Positions.


async def test_positions_are_about_half_and_half(running: RunningApp, canary: str) -> None:
    running.services.comparisons._random = Random(7)
    answers = [await compare(running, max_tokens=1) for _ in range(200)]
    versions = recorded(running, "version")
    first = Counter(versions[ids_of(answer)[0]] for answer in answers)
    assert 75 <= first[canary] <= 125


async def test_both_sides_start_together(
    running: RunningApp, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is answered before both were asked for."""
    answer, both = FakeEngine.answer, asyncio.Barrier(2)

    async def together(engine: FakeEngine, call: EngineCall) -> EngineResponse:
        await both.wait()
        return await answer(engine, call)

    monkeypatch.setattr(FakeEngine, "answer", together)
    assert (await compare(running)).status_code == 200


@pytest.mark.parametrize("slow", ["base", "the canary"])
async def test_who_answers_first_does_not_decide_who_is_first(
    running: RunningApp, canary: str, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, late = FakeEngine.answer, canary if slow == "the canary" else "base"

    answered = asyncio.Event()

    async def in_order(engine: FakeEngine, call: EngineCall) -> EngineResponse:
        if call.version == late:
            await answered.wait()
        response = await answer(engine, call)
        answered.set()
        return response

    running.services.comparisons._random = Random(3)
    expected = ["base", canary]
    Random(3).shuffle(expected)
    monkeypatch.setattr(FakeEngine, "answer", in_order)
    found = ids_of(await compare(running))
    versions = recorded(running, "version")
    assert [versions[one] for one in found] == expected


REFUSED: dict[str, Any] = {
    "between": "live",
    "n": 9,
    "best_of": 2,
    "priority": -1,
    "temperature": SECRET,
    "messages": SECRET,
    "model": {"a": SECRET},
    "chat_template": SECRET,
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field", REFUSED)
async def test_what_is_refused_names_its_field_and_echoes_nothing(
    running: RunningApp, canary: str, field: str, stream: bool
) -> None:
    answer = await compare(running, **{"stream": stream, field: REFUSED[field]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert SECRET not in answer.text


@pytest.mark.parametrize("between", [1, True, ["canary"], {"a": SECRET}, SECRET, ""])
async def test_a_between_that_is_none_is_refused(running: RunningApp, between: Any) -> None:
    answer = await compare(running, between=between)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "between")
    assert SECRET not in answer.text


@pytest.mark.parametrize("model", ["pawl@base", "pawl@live", "pawl@", "@"])
async def test_only_a_channel_is_compared(running: RunningApp, model: str) -> None:
    answer = await compare(running, model=model)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


async def test_a_channel_that_is_not_there_is_a_404(running: RunningApp) -> None:
    assert (await compare(running, model="nope")).status_code == 404


@pytest.mark.parametrize("between", ["canary", "shadow"])
async def test_a_role_that_nobody_has_is_a_conflict(running: RunningApp, between: str) -> None:
    answer = await compare(running, between=between)
    assert (answer.status_code, answer.json()["error"]["param"]) == (409, "between")


async def test_our_own_traffic_is_not_compared(running: RunningApp) -> None:
    purpose = {"x-pawl-purpose": "evaluation"}
    answer = await running.operator.post(PATH, json=chat_body(), headers=purpose)
    assert answer.status_code == 400


async def test_between_is_not_part_of_what_was_asked(running: RunningApp) -> None:
    one, _ = ids_of(await compare(running, between="samples", n=2))
    row = await shown(running, one)
    assert row["request"] == {"model": "pawl", "messages": [QUESTION], "n": 2}
    assert len(row["choices"]) == 2
