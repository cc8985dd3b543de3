"""What a run asks the live version again: recorded apart, counted nowhere, and patient."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import asked_prompts, judged_conversations
from feedback.reading.logged_answers import logged_answers
from retrain.dataset.filters import RaterRules
from retrain.ports import Answer
from server.assembly.evaluation_chat import InternalChat, YieldingChat
from tests.server.api.test_purpose import recorded
from tests.server.comparing import WHO, version
from tests.server.running_app import QUESTION, RunningApp, chat_body, running_app
from tests.server.serving.test_last_byte import database_of, rows

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
REQUEST = {"messages": [QUESTION]}


def counterparts(running: RunningApp) -> YieldingChat:
    chat = InternalChat(running.app, running.services.operator_token, "counterpart")
    return YieldingChat(chat, running.services.serving.shadow.load.until_light)


async def asked(running: RunningApp, **request: Any) -> Answer:
    return await counterparts(running).answer(model="pawl@base", request={**REQUEST, **request})


async def test_it_is_recorded_with_a_mode_of_its_own(running: RunningApp) -> None:
    answer = await asked(running)
    assert recorded(running, answer.interaction_id)[:2] == ("counterpart", "complete")


async def test_the_log_has_the_token_ids_as_they_were_served(running: RunningApp) -> None:
    answer = await asked(running)
    found = await logged_answers(running.services.database, [answer.interaction_id])
    logged = found[answer.interaction_id, 0]
    assert logged.text == answer.text
    assert logged.token_ids is not None
    assert len(logged.token_ids) == answer.completion_tokens
    assert logged.prompt_token_ids


async def test_it_takes_part_in_no_trial(running: RunningApp, tmp_path: Path) -> None:
    canary = await version(running, tmp_path, 1)
    await running.services.registry.set_canary(canary, 1.0, **WHO)
    headers = {"x-pawl-purpose": "counterpart"}
    answer = await running.operator.post(CHAT, json=chat_body(user="ada"), headers=headers)
    assert recorded(running, answer.json()["id"])[2:] == (None, None, "live")


async def test_it_is_neither_asked_again_nor_trained_on(running: RunningApp) -> None:
    for up in (True, False):
        answer = await asked(running)
        thumb = {"inference_id": answer.interaction_id, "metric_name": "thumbs", "value": up}
        assert (await running.operator.post("/v1/feedback", json=thumb)).status_code == 200
    window = LogWindow("pawl", None, None, running.services.clock())
    database = running.services.database
    assert [one async for one in asked_prompts(database, window, lambda *_: True)] == []
    judged = judged_conversations(database, window, RaterRules(100).excluded)
    assert [one async for one in judged] == []
    plan = (await running.operator.get("/v1/pairs")).json()
    assert (plan["pairs"], plan["held_out_prompts"]) == (0, 0)


async def test_it_waits_while_users_need_the_engine(running: RunningApp) -> None:
    load, engine = running.services.serving.shadow.load, running.engine
    for _ in range(running.services.settings.server.shadow.busy_streams):
        load.began()
    waiting = asyncio.create_task(asked(running))
    for _ in range(20):
        await asyncio.sleep(0)
    assert engine.in_flight("base") == 0
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


class Coin:
    """A judge that sees no difference."""

    async def compare(self, conversation: object, a: str, b: str) -> float:
        del conversation, a, b
        return 0.5


SETTINGS = {
    "enabled": False,
    "judge": f"{__name__}:Coin",
    "minimum_pairs": 3,
    "counterparts": {"samples": 2},
    "pairs": {"held_out_share": 0},
}


async def test_a_run_asks_what_users_rated_with_their_sampling_parameters(tmp_path: Path) -> None:
    async with running_app(tmp_path, retrain=SETTINGS) as running:
        before = await first_tokens(running)
        for number in range(4):
            question = {"role": "user", "content": f"question {number}?"}
            body = chat_body(messages=[question], user=f"user {number}", temperature=0.9)
            answer = await running.anyone.post(CHAT, json=body)
            thumb = {"inference_id": answer.json()["id"], "metric_name": "thumbs", "value": False}
            assert (await running.anyone.post("/v1/feedback", json=thumb)).status_code == 200
        started = await running.services.runs.start_run("pawl")
        run = await running.services.runs.wait(started.id)
        figures = run.figures["counterparts"]
        assert (figures["questions"], figures["answers"]) == (4, 8)
        assert not figures["outcomes"].keys() & {"failed", "different_prompt", "no_request"}
        assert run.state == "skipped", run.reason
        asked = modes(running)
        assert asked == {"live": 4, "counterpart": 8}
        assert await first_tokens(running) - before == 4


async def first_tokens(running: RunningApp) -> float:
    """Requests that were timed, also those of other tests: the process has one registry."""
    metrics = (await running.anyone.get("/metrics")).text
    timed = [line for line in metrics.splitlines() if "time_to_first_token_seconds_count" in line]
    return sum(float(line.split()[-1]) for line in timed)


def modes(running: RunningApp) -> Counter[str]:
    query = "SELECT mode FROM interaction"
    return Counter(row[0] for row in rows(database_of(running), query))
