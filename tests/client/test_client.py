"""The plain clients: what they send, what they retry, and which errors they raise."""

from collections.abc import Iterator

import httpx
import pytest
from pawl_client import AsyncFeedbackClient, FeedbackClient, RefusedError, UnavailableError
from pawl_client.calls import ATTEMPTS, PAUSE_SECONDS_MAX, pause_after
from pawl_client.testing import StandIn, stand_in_server


@pytest.fixture
def pawl() -> Iterator[StandIn]:
    with stand_in_server() as stand_in:
        yield stand_in


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pawl_client.calls.FIRST_PAUSE_SECONDS", 0.001)


def rated(pawl: StandIn, path: str = "") -> StandIn:
    id_ = pawl.answered("hi")
    with FeedbackClient(pawl.url + path, "key") as client:
        client.rate(id_, "thumbs", value=True, rater="ada")
    return pawl


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_the_address_may_be_that_of_an_openai_client(pawl: StandIn, path: str) -> None:
    (feedback,) = rated(pawl, path).feedback
    assert (feedback["metric_name"], feedback["value"], feedback["rater"]) == (
        "thumbs",
        True,
        "ada",
    )


@pytest.mark.usefixtures("impatient")
def test_a_busy_server_is_asked_again_for_the_same_feedback(pawl: StandIn) -> None:
    pawl.unavailable = ATTEMPTS - 1
    assert len(rated(pawl).feedback) == 1


@pytest.mark.usefixtures("impatient")
def test_a_server_that_stays_busy_is_an_error(pawl: StandIn) -> None:
    pawl.unavailable = ATTEMPTS
    with pytest.raises(UnavailableError, match="503"):
        rated(pawl)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_an_error() -> None:
    with (
        FeedbackClient("http://127.0.0.1:9") as client,
        pytest.raises(UnavailableError, match="URL"),
    ):
        client.rate("chatcmpl-1", "thumbs", value=True)


def test_the_same_feedback_is_sent_at_each_attempt(impatient: None) -> None:
    bodies: list[bytes] = []

    def reply(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(503 if len(bodies) < 3 else 200, json={"feedback_id": "f"})

    http = httpx.Client(base_url="http://pawl", transport=httpx.MockTransport(reply))
    FeedbackClient(http=http).rate("chatcmpl-1", "thumbs", value=True)
    assert len(bodies) == 3
    assert len(set(bodies)) == 1


def test_each_comparison_is_sent_as_the_api_takes_it(pawl: StandIn) -> None:
    one, other = pawl.answered("hi"), pawl.answered("hi")
    with FeedbackClient(pawl.url) as client:
        client.prefer(one, other, rater="ada")
        client.tie(one, other, other_choice=1)
        client.both_bad(other, one, choice=1)
        client.rank([(one, 2), [other, (one, 0)]])
    said = [(body["inference_id"], body.get("choice"), body["value"]) for body in pawl.feedback]
    assert said == [
        (one, None, {"over": other}),
        (one, None, {"tie": other, "choice": 1}),
        (other, 1, {"both_bad": one}),
        (one, 2, [{"id": one, "choice": 2}, [other, {"id": one, "choice": 0}]]),
    ]


def test_an_empty_ranking_is_not_sent(pawl: StandIn) -> None:
    with FeedbackClient(pawl.url) as client, pytest.raises(ValueError, match="two answers"):
        client.rank([[]])
    assert pawl.feedback == []


def test_a_refusal_carries_the_servers_words() -> None:
    body = {"error": {"message": "must be 1 to 5", "param": "value"}}
    http = httpx.Client(
        base_url="http://pawl",
        transport=httpx.MockTransport(lambda _: httpx.Response(422, json=body)),
    )
    with pytest.raises(RefusedError, match="must be 1 to 5") as refused:
        FeedbackClient(http=http).rate("chatcmpl-1", "rating", 9)
    assert (refused.value.status, refused.value.param) == (422, "value")


def test_a_page_that_is_no_pawl_is_an_error() -> None:
    http = httpx.Client(
        base_url="http://other",
        transport=httpx.MockTransport(lambda _: httpx.Response(404, text="<html>")),
    )
    with pytest.raises(RefusedError, match="404"):
        FeedbackClient(http=http).rate("chatcmpl-1", "rating", 5)


def test_a_server_that_says_when_to_come_back_is_heeded_within_bounds() -> None:
    assert pause_after(0, httpx.Response(429, headers={"retry-after": "2"})) == 2
    assert pause_after(0, httpx.Response(429, headers={"retry-after": "9999"})) == PAUSE_SECONDS_MAX
    assert pause_after(0, httpx.Response(429, headers={"retry-after": "soon"})) < 1
    assert pause_after(1, None) > pause_after(0, None)


@pytest.mark.anyio
async def test_the_async_client_does_the_same(pawl: StandIn, impatient: None) -> None:
    pawl.unavailable = 1
    id_ = pawl.answered("hi")
    async with AsyncFeedbackClient(pawl.url) as client:
        assert await client.rate(id_, "thumbs", value=True)
        assert await client.report({"model": "other", "choices": []})
        assert (await client.feedback_token(id_)).token
        with pytest.raises(RefusedError):
            await client.rate("chatcmpl-nobodys", "thumbs", value=True)
    assert len(pawl.feedback) == 1


@pytest.mark.anyio
async def test_feedback_is_taken_back_by_its_id_whatever_that_is() -> None:
    asked: list[tuple[str, bytes]] = []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.raw_path))
        return httpx.Response(200, json={"feedback_id": "retraction"})

    transport = httpx.MockTransport(reply)
    FeedbackClient(http=httpx.Client(base_url="http://pawl", transport=transport)).take_back("a/b?")
    async with httpx.AsyncClient(base_url="http://pawl", transport=transport) as http:
        await AsyncFeedbackClient(http=http).take_back("a/b?")
    assert asked == [("DELETE", b"/v1/feedback/a%2Fb%3F")] * 2
