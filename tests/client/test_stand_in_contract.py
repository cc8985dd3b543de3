"""The stand-in that applications test against answers as a real server does."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pawl_client import AsyncFeedbackClient, RefusedError
from pawl_client.testing import stand_in_server

from tests.server.running_app import QUESTION, running_app

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["stand-in", "server"])
async def http(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: object
) -> AsyncIterator[httpx.AsyncClient]:
    if request.param == "server":
        async with running_app(tmp_path) as app:
            yield app.anyone
    else:
        with stand_in_server() as pawl:
            async with httpx.AsyncClient(base_url=pawl.url) as client:
                yield client


async def chat(http: httpx.AsyncClient) -> httpx.Response:
    return await http.post("/v1/chat/completions", json={"model": "pawl", "messages": [QUESTION]})


async def test_a_chat_has_an_id_that_is_in_the_header_too(http: httpx.AsyncClient) -> None:
    answer = await chat(http)
    assert answer.json()["id"] == answer.headers["x-pawl-interaction"]
    assert answer.json()["model"].startswith("pawl@")


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("thumbs", None),
        ("ranking", None),
        ("thumbs", True),
        ("rating", 5),
        ("comment", "fine"),
        ("demonstration", "In July."),
    ],
)
async def test_feedback_on_an_answer_is_stored(
    http: httpx.AsyncClient, metric: str, value: object
) -> None:
    id_ = (await chat(http)).json()["id"]
    client = AsyncFeedbackClient(http=http)
    assert await client.rate(id_, metric, value, rater="ada")
    assert await client.rate(id_, metric, value, rater="ada", id="mine") == "mine"


@pytest.mark.parametrize(
    ("metric", "value", "param"),
    [
        ("thumbs", "yes", "value"),
        ("thumbs", 1, "value"),
        ("rating", 6, "value"),
        ("rating", True, "value"),
        ("comment", 3, "value"),
        ("demonstration", "", "value"),
        ("ranking", [], "value"),
        ("no-such-metric", True, "metric_name"),
    ],
)
async def test_feedback_that_breaks_a_rule_is_refused_by_field(
    http: httpx.AsyncClient, metric: str, value: object, param: str
) -> None:
    id_ = (await chat(http)).json()["id"]
    with pytest.raises(RefusedError) as refused:
        await AsyncFeedbackClient(http=http).rate(id_, metric, value)
    assert (refused.value.status, refused.value.param) == (422, param)


async def test_feedback_on_an_id_of_nobody_is_refused(http: httpx.AsyncClient) -> None:
    with pytest.raises(RefusedError) as refused:
        await AsyncFeedbackClient(http=http).rate("chatcmpl-nobodys", "thumbs", value=True)
    assert refused.value.status == 404


async def test_what_another_model_answered_can_be_reported_and_rated(
    http: httpx.AsyncClient,
) -> None:
    client = AsyncFeedbackClient(http=http)
    id_ = await client.report(
        {"model": "other", "messages": [QUESTION], "choices": [{"text": "July."}]}
    )
    assert await client.rate(id_, "thumbs", value=False)


async def test_a_browser_gets_a_token_that_ends(http: httpx.AsyncClient) -> None:
    id_ = (await chat(http)).json()["id"]
    token = await AsyncFeedbackClient(http=http).feedback_token(id_, rater="ada", seconds=60)
    assert token.token
    assert token.expires_at.tzinfo is not None


async def test_a_token_for_an_id_of_nobody_is_refused(http: httpx.AsyncClient) -> None:
    with pytest.raises(RefusedError) as refused:
        await AsyncFeedbackClient(http=http).feedback_token("chatcmpl-nobodys")
    assert refused.value.status == 404
