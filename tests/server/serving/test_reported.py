"""What applications report of other models: one or several, and answered by Pawl for nobody."""

import asyncio
from typing import Any

import pytest

from tests.server.running_app import RunningApp
from tests.server.shadowing import counted, settled, shadows, texts
from tests.waiting import until

pytestmark = pytest.mark.anyio

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def report(**fields: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": "When do the tomatoes ripen?"}]}
    given = {} if "prompt" in fields else asked
    return {"model": "other", "choices": [{"text": "In July."}], **given, **fields}


async def stored(running: RunningApp, **fields: Any) -> str:
    answer = await running.anyone.post("/v1/interactions", json=report(**fields))
    assert answer.status_code == 200
    identifier: str = answer.json()["inference_id"]
    return identifier


async def test_the_live_version_answers_what_another_model_was_asked(running: RunningApp) -> None:
    sampling = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 5, "stop": ["\n"]}
    identifier = await stored(
        running, shadow=True, user="ada", run_id="r", tools=[TOOL], **sampling
    )
    assert await settled(running, 1) == {"answered": 1}
    (row,) = shadows(running)
    asked = report()["messages"]
    wanted = {
        "parent": identifier,
        "version": "base",
        "requested_model": "pawl",
        "user": "ada",
        "tenant": "default",
        "status": "complete",
        "endpoint": "chat",
        "request": {
            "model": "pawl",
            "messages": asked,
            "tools": [TOOL],
            "user": "ada",
            **sampling,
        },
    }
    assert {name: row[name] for name in wanted} == wanted
    assert texts(running, row["id"]) != texts(running, identifier) == ["In July."]


async def test_both_answers_are_to_one_conversation(running: RunningApp) -> None:
    identifier = await stored(running, shadow=True, tools=[TOOL])
    await settled(running, 1)
    (row,) = shadows(running)
    preferred = {"inference_id": row["id"], "metric_name": "preference"}
    rated = await running.anyone.post(
        "/v1/feedback", json={**preferred, "value": {"over": identifier}}
    )
    assert rated.status_code == 200


async def test_a_prompt_is_continued(running: RunningApp) -> None:
    await stored(running, shadow=True, prompt="Once upon")
    assert await settled(running, 1) == {"answered": 1}
    assert [row["endpoint"] for row in shadows(running)] == ["completion"]


async def test_a_report_that_is_sent_again_is_answered_once(running: RunningApp) -> None:
    posts = [stored(running, shadow=True, run_id="r") for _ in range(4)]
    assert len(set(await asyncio.gather(*posts))) == 1
    await stored(running, shadow=True, run_id="another")
    assert await settled(running, 2) == {"answered": 2}


@pytest.mark.parametrize("fields", [{}, {"shadow": False}, {"shadow": True, "status": "failed"}])
async def test_what_is_not_to_be_answered_is_only_recorded(
    running: RunningApp, fields: dict[str, Any]
) -> None:
    await stored(running, **fields)
    await until(lambda: not running.services.recorder.depth)
    assert (await counted(running), shadows(running)) == ({}, [])


async def test_what_the_engine_refuses_is_counted_and_the_report_stands(
    running: RunningApp,
) -> None:
    await stored(running, shadow=True, messages=[{"role": "nobody", "content": 7}])
    assert await settled(running, 1) == {"failed": 1}


async def test_live_traffic_goes_first_and_the_queue_is_bounded(running: RunningApp) -> None:
    shadow, most = running.services.serving.shadow, running.services.settings.server.shadow
    for _ in range(most.busy_streams):
        shadow.began()
    for _ in range(most.queue_max + 3):
        await stored(running, shadow=True)
    assert await counted(running) == {"full": 3}
    assert shadows(running) == []
    for _ in range(most.busy_streams):
        shadow.ended()
    assert await settled(running, most.queue_max + 3) == {"full": 3, "answered": most.queue_max}


async def test_several_are_stored_each_under_its_id(running: RunningApp) -> None:
    rows = [report(run_id=f"r{number}") for number in range(3)]
    answer = await running.anyone.post("/v1/interactions/batch", json={"interactions": rows})
    ids = [result["inference_id"] for result in answer.json()["results"]]
    shown = [(await running.anyone.get(f"/v1/interactions/{one}")).json() for one in ids]
    assert [one["run_id"] for one in shown] == ["r0", "r1", "r2"]


async def test_one_that_is_refused_keeps_no_other_out(running: RunningApp) -> None:
    rows = [report(), report(choices=7), report(channel="nowhere"), report()]
    answer = await running.anyone.post("/v1/interactions/batch", json={"interactions": rows})
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()["results"]
    assert set(first) == set(fourth) == {"inference_id"}
    assert second["error"]["param"] == "choices"
    assert "channel" in third["error"]["message"]


@pytest.mark.parametrize("rows", [[], [{}] * 101, "x", None])
async def test_a_batch_has_one_to_a_hundred_rows(running: RunningApp, rows: object) -> None:
    answer = await running.anyone.post("/v1/interactions/batch", json={"interactions": rows})
    assert answer.status_code == 422
