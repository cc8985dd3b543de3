"""What clients write into names and numbers: taken whole or refused by name, on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.running_app import RunningApp, chat_body, running_app

pytestmark = pytest.mark.anyio
LONG = "\U0001f345" * 3_000
BAD_TEXTS = {"long": LONG, "nul": "a\x00b"}
GOOD_TEXT = "\U0001f345" * 256
REPORT = {"model": "other", "prompt": "hi", "choices": [{"text": "ho", "finish_reason": "stop"}]}


@pytest.fixture
async def running(
    anyio_backend: object, tmp_path: Path, database_url: str
) -> AsyncIterator[RunningApp]:
    async with running_app(tmp_path / "data", database_url=database_url) as app:
        yield app


async def answered(app: RunningApp, **fields: Any) -> str:
    answer = await app.anyone.post("/v1/chat/completions", json=chat_body(**fields))
    assert answer.status_code == 200, answer.text
    identifier: str = answer.json()["id"]
    return identifier


def refused(answer: httpx.Response, field: str) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    assert (answer.json()["error"]["param"] or "").split(".")[0] == field
    assert "\U0001f345" not in answer.text


@pytest.mark.parametrize("bad", BAD_TEXTS)
async def test_a_user_that_no_index_holds_is_refused_by_name(running: RunningApp, bad: str) -> None:
    user = BAD_TEXTS[bad]
    asked = {"model": "pawl", "prompt": "hi", "user": user}
    for path, body in (
        ("chat/completions", chat_body(user=user)),
        ("completions", asked),
        ("comparisons", chat_body(user=user)),
        ("interactions", {**REPORT, "user": user}),
    ):
        refused(await running.anyone.post(f"/v1/{path}", json=body), "user")


@pytest.mark.parametrize("user", [7, ["ann"], {"name": "ann"}, True])
async def test_a_user_is_a_text(running: RunningApp, user: object) -> None:
    refused(await running.anyone.post("/v1/chat/completions", json=chat_body(user=user)), "user")


async def test_a_user_may_be_left_out(running: RunningApp) -> None:
    identifier = await answered(running, user=None)
    row = (await running.anyone.get(f"/v1/interactions/{identifier}")).json()
    assert row["user"] is None


async def test_the_longest_names_are_kept_whole(running: RunningApp) -> None:
    identifier = await answered(running, user=GOOD_TEXT)
    word = {"inference_id": identifier, "metric_name": "thumbs", "value": True}
    word |= {"rater": GOOD_TEXT, "id": GOOD_TEXT, "tags": {GOOD_TEXT: GOOD_TEXT}}
    assert (await running.anyone.post("/v1/feedback", json=word)).status_code == 200
    row = (await running.anyone.get(f"/v1/interactions/{identifier}")).json()
    assert row["user"] == GOOD_TEXT
    (said,) = row["feedback"]
    assert (said["id"], said["rater"], said["tags"]) == (GOOD_TEXT, GOOD_TEXT, word["tags"])
    report = {**REPORT, "run_id": GOOD_TEXT, "user": GOOD_TEXT, "model": GOOD_TEXT}
    stored = await running.anyone.post("/v1/interactions", json=report)
    row = (await running.anyone.get(f"/v1/interactions/{stored.json()['inference_id']}")).json()
    assert (row["run_id"], row["user"], row["model"]) == (GOOD_TEXT, GOOD_TEXT, GOOD_TEXT)


FEEDBACK = ("id", "rater", "metric_name", "tags", "inference_id")


@pytest.mark.parametrize("bad", BAD_TEXTS)
@pytest.mark.parametrize("field", FEEDBACK)
async def test_feedback_with_such_a_name_is_refused_by_name(
    running: RunningApp, field: str, bad: str
) -> None:
    text = BAD_TEXTS[bad]
    word: dict[str, Any] = {"metric_name": "thumbs", "value": True}
    word |= {
        "inference_id": await answered(running),
        field: {"a": text} if field == "tags" else text,
    }
    refused(await running.anyone.post("/v1/feedback", json=word), field)


@pytest.mark.parametrize("bad", BAD_TEXTS)
@pytest.mark.parametrize("field", ["id", "run_id", "model", "parent", "tags", "choices"])
async def test_a_report_with_such_a_name_is_refused_by_name(
    running: RunningApp, field: str, bad: str
) -> None:
    text = BAD_TEXTS[bad]
    named = {"tags": {"a": text}, "choices": [{"text": "a", "finish_reason": text}]}
    report = {**REPORT, field: named.get(field, text)}
    refused(await running.anyone.post("/v1/interactions", json=report), field)


@pytest.mark.parametrize("text", ["a\x00b", "\x00"])
async def test_texts_of_a_conversation_may_hold_anything(running: RunningApp, text: str) -> None:
    """They stand in no index: what is asked is kept, whatever it is."""
    identifier = await answered(running, messages=[{"role": "user", "content": text}])
    row = (await running.anyone.get(f"/v1/interactions/{identifier}")).json()
    assert row["request"]["messages"][0]["content"] == text


PATHS = (
    "GET /v1/interactions/{}",
    "DELETE /v1/feedback/{}",
    "GET /v1/adapters/{}/events",
    "POST /v1/adapters/{}/promote",
    "GET /v1/adapters?channel={}",
    "GET /v1/route?channel={}",
    "GET /v1/runs/{}",
    "GET /v1/runs?channel={}",
    "GET /v1/rollouts/{}",
    "GET /v1/rollouts?channel={}",
    "GET /v1/pairs?channel={}",
    "DELETE /v1/keys/{}",
)


@pytest.mark.parametrize("written", ["a%00b", "a" * 3_000])
async def test_an_address_with_such_a_name_is_the_clients_fault(
    running: RunningApp, written: str
) -> None:
    for operation in PATHS:
        method, _, path = operation.format(written).partition(" ")
        answer = await running.operator.request(method, path, json={} if method == "POST" else None)
        assert 400 <= answer.status_code < 500, (operation, answer.text)


@pytest.mark.parametrize("body", [{"reason": "a\x00b"}, {"reason": "why", "channel": "a\x00b"}])
async def test_a_reason_or_a_channel_without_nul(running: RunningApp, body: dict[str, Any]) -> None:
    answer = await running.operator.post("/v1/rollback", json=body)
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(("sent", "kept"), [(4.0, 4), (4, 4), (1.0, 1), (5.0, 5)])
async def test_a_whole_rating_may_be_written_as_a_float(
    running: RunningApp, sent: float, kept: int
) -> None:
    identifier = await answered(running)
    word = {"inference_id": identifier, "metric_name": "rating", "value": sent, "choice": 0.0}
    assert (await running.anyone.post("/v1/feedback", json=word)).status_code == 200
    (said,) = (await running.anyone.get(f"/v1/interactions/{identifier}")).json()["feedback"]
    assert (said["value"], type(said["value"])) == (kept, int)


@pytest.mark.parametrize("value", [4.5, 0.0, 6.0, 1e30, True, "4"])
async def test_what_is_no_whole_rating_is_refused(running: RunningApp, value: object) -> None:
    word = {"inference_id": await answered(running), "metric_name": "rating", "value": value}
    refused(await running.anyone.post("/v1/feedback", json=word), "value")


async def test_the_same_rating_in_both_forms_is_the_same_feedback(running: RunningApp) -> None:
    word = {"inference_id": await answered(running), "metric_name": "rating", "id": "mine"}
    for value in (4.0, 4):
        told = await running.anyone.post("/v1/feedback", json={**word, "value": value})
        assert told.json() == {"feedback_id": "mine"}


async def test_whole_numbers_of_values_tokens_and_reports_may_be_floats(
    running: RunningApp,
) -> None:
    identifier = await answered(running, n=2.0)
    over = {"over": identifier, "choice": 0.0}
    word = {"inference_id": identifier, "choice": 1.0, "metric_name": "preference", "value": over}
    ranked = [{"id": identifier, "choice": choice} for choice in (1.0, 0.0)]
    for said in (word, {**word, "metric_name": "ranking", "value": ranked}):
        assert (await running.anyone.post("/v1/feedback", json=said)).status_code == 200
    token = {"inference_id": identifier, "seconds": 60.0}
    assert (await running.anyone.post("/v1/feedback-tokens", json=token)).status_code == 200
    report = {**REPORT, "max_tokens": 16.0}
    assert (await running.anyone.post("/v1/interactions", json=report)).status_code == 200


WHOLE = ("n", "max_tokens", "max_completion_tokens", "top_k", "min_tokens")


@pytest.mark.parametrize("field", WHOLE)
async def test_whole_numbers_of_a_request_may_be_floats(running: RunningApp, field: str) -> None:
    body = {"max_tokens": 8, field: 2.0}
    identifier = await answered(running, **body)
    row = (await running.anyone.get(f"/v1/interactions/{identifier}")).json()
    assert (row["request"][field], row["status"]) == (2, "complete")
    half = await running.anyone.post("/v1/chat/completions", json=chat_body(**{field: 2.5}))
    refused(half, field)
