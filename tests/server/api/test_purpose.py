"""`x-pawl-purpose`: what a request is for, and what becomes of those that no person asked."""

from pathlib import Path
from typing import Any, get_args

import pytest

from feedback.reading.judgement_queries import LogWindow
from feedback.reading.judgements import asked_prompts, judged_conversations
from retrain.dataset.filters import RaterRules
from server.serving.exchange import PRIORITY, Mode
from tests.server.api.test_chat import CHAT
from tests.server.comparing import WHO, version
from tests.server.running_app import QUESTION, RunningApp, chat_body
from tests.server.serving.test_last_byte import database_of, rows
from tests.server.shadowing import counted

pytestmark = pytest.mark.anyio

BACKGROUND = {"x-pawl-purpose": "background"}


def recorded(running: RunningApp, identifier: str) -> tuple[Any, ...]:
    """Mode, status, trial, share and role of one interaction."""
    query = "SELECT id, mode, status, trial, trial_share, role FROM interaction"
    return next(tuple(row)[1:] for row in rows(database_of(running), query) if row[0] == identifier)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_an_app_key_may_mark_a_request_as_background(
    running: RunningApp, path: str, stream: bool
) -> None:
    client = running.bearer(await running.key("app"))
    asked = {"messages": [QUESTION]} if path == CHAT else {"prompt": "So"}
    body = {"model": "pawl", "stream": stream, **asked}
    answer = await client.post(path, json=body, headers=BACKGROUND)
    assert answer.status_code == 200
    identifier = answer.headers["x-pawl-interaction"]
    assert recorded(running, identifier)[:2] == ("background", "complete")


@pytest.mark.parametrize("purpose", ["", "Background", "title", "live", "shadow", "background,"])
async def test_an_unknown_purpose_is_refused_by_name(running: RunningApp, purpose: str) -> None:
    headers = {"x-pawl-purpose": purpose}
    answer = await running.anyone.post(CHAT, json=chat_body(), headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "x-pawl-purpose")
    assert "'background', 'evaluation' or 'counterpart'" in error["message"]


async def test_a_comparison_has_no_purpose(running: RunningApp) -> None:
    answer = await running.anyone.post("/v1/comparisons", json=chat_body(), headers=BACKGROUND)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-pawl-purpose")


async def test_background_requests_take_part_in_no_trial(
    running: RunningApp, tmp_path: Path
) -> None:
    canary = await version(running, tmp_path, 1)
    await running.services.registry.set_canary(canary, 1.0, **WHO)
    person = await running.anyone.post(CHAT, json=chat_body(user="ada"))
    marked = await running.anyone.post(CHAT, json=chat_body(user="ada"), headers=BACKGROUND)
    assert person.headers["x-pawl-version"] == canary
    assert marked.headers["x-pawl-version"] == "base"
    assert recorded(running, marked.headers["x-pawl-interaction"])[2:] == (None, None, "live")


async def test_background_requests_are_not_shadowed(
    shadowed: tuple[RunningApp, str],
) -> None:
    running, _ = shadowed
    await running.anyone.post(CHAT, json=chat_body(), headers=BACKGROUND)
    assert await counted(running) == {}


async def test_background_requests_are_neither_asked_again_nor_trained_on(
    running: RunningApp,
) -> None:
    client = running.anyone
    ids: dict[str, str] = {}
    for words, headers in (("person", {}), ("background", BACKGROUND)):
        for up in (True, False):
            answer = await client.post(CHAT, json=chat_body(user=words), headers=headers)
            ids[words] = answer.json()["id"]
            thumb = {"inference_id": ids[words], "metric_name": "thumbs", "value": up}
            assert (await client.post("/v1/feedback", json=thumb)).status_code == 200
    pairs = (await running.operator.get("/v1/pairs")).json()
    assert "background" not in str(pairs)
    window = LogWindow("pawl", None, None, running.services.clock())
    database = running.services.database
    asked = [one.requester async for one in asked_prompts(database, window, lambda *_: True)]
    judged = [one async for one in judged_conversations(database, window, RaterRules(100).excluded)]
    assert set(asked) == {"person"}
    assert {word.rater for one in judged for word in one.judgements} == {"person"}


def test_every_purpose_has_its_place_in_the_engines_queue() -> None:
    modes: tuple[Mode, ...] = get_args(Mode)
    assert sorted(modes, key=lambda mode: PRIORITY[mode]) == list(modes)
