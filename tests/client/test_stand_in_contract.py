"""The stand-in that applications test against answers as a real server does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

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


def filled(value: Any, ids: dict[str, str]) -> Any:
    """The value with the ids of answers in place of their names."""
    match value:
        case str():
            return ids.get(value, value)
        case list():
            return [filled(one, ids) for one in value]
        case dict():
            return {key: filled(one, ids) for key, one in value.items()}
    return value


async def answers(http: httpx.AsyncClient) -> dict[str, str]:
    """Three answers to one question: a, b and c."""
    return {name: (await chat(http)).json()["id"] for name in "abc"}


async def test_answers_are_compared(http: httpx.AsyncClient) -> None:
    ids = await answers(http)
    client = AsyncFeedbackClient(http=http)
    for metric, value in ACCEPTED:
        assert await client.rate(ids["a"], metric, filled(value, ids)), value


ACCEPTED: list[tuple[str, object]] = [
    ("preference", {"over": "b"}),
    ("preference", {"over": "b", "choice": 0}),
    ("preference", {"tie": "b"}),
    ("preference", {"both_bad": "b", "choice": 0.0}),
    ("preference", {"tie": "b", "over": None}),
    ("ranking", ["a", "b"]),
    ("ranking", ["b", ["c", "a"]]),
    ("ranking", [["a", {"id": "b", "choice": 0}]]),
    ("ranking", [{"id": "c"}, ["a"]]),
]

REFUSED: list[tuple[str, object, str]] = [
    ("preference", {}, "value"),
    ("preference", {"over": "b", "tie": "b"}, "value"),
    ("preference", {"tie": "b", "both_bad": "c"}, "value"),
    ("preference", {"tie": None}, "value"),
    ("preference", {"tie": ["b"]}, "value"),
    ("preference", {"tie": "b", "more": 1}, "value"),
    ("preference", {"tie": "b", "choice": -1}, "value"),
    ("preference", {"tie": "a"}, "value.tie"),
    ("preference", {"both_bad": "a"}, "value.both_bad"),
    ("ranking", ["a"], "value"),
    ("ranking", ["a", "a"], "value"),
    ("ranking", [["a", "b"], "b"], "value"),
    ("ranking", ["b", "c"], "value"),
    ("ranking", ["a", []], "value.1"),
    ("ranking", ["a", ["b", ["c"]]], "value.1"),
    ("ranking", ["a", ["b", 3]], "value.1.1"),
    ("ranking", ["a", {"id": "b", "rank": 1}], "value.1"),
    ("ranking", {"a": 1}, "value"),
]


async def test_a_comparison_that_breaks_a_rule_is_refused_by_field(
    http: httpx.AsyncClient,
) -> None:
    ids = await answers(http)
    client = AsyncFeedbackClient(http=http)
    for metric, value, param in REFUSED:
        with pytest.raises(RefusedError) as refused:
            await client.rate(ids["a"], metric, filled(value, ids))
        assert (value, refused.value.status, refused.value.param) == (value, 422, param)


async def test_a_comparison_with_an_id_of_nobody_is_refused(http: httpx.AsyncClient) -> None:
    ids = await answers(http)
    client = AsyncFeedbackClient(http=http)
    nobodys = "chatcmpl-nobodys"
    for call in (client.tie(ids["a"], nobodys), client.rank([ids["a"], [nobodys, ids["b"]]])):
        with pytest.raises(RefusedError) as refused:
            await call
        assert (refused.value.status, refused.value.param) == (404, "value")


async def test_each_comparison_has_a_method(http: httpx.AsyncClient) -> None:
    one, other, third = (await answers(http)).values()
    client = AsyncFeedbackClient(http=http)
    assert await client.prefer(one, other, rater="ada")
    assert await client.tie(one, other, other_choice=0, rater="bob")
    assert await client.both_bad(one, other, choice=0, rater="cleo")
    assert await client.rank([one, [other, third]], rater="ada")
    assert await client.rank([[(one, 0), (other, 0)]], rater="bob", id="mine") == "mine"


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
