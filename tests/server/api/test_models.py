"""`GET /v1/models` and one of them by its id, as OpenAI's clients ask for it."""

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.server.running_app import RunningApp
from tests.server.shadowing import add_version

pytestmark = pytest.mark.anyio


async def test_each_card_says_how_many_tokens_the_model_takes(running: RunningApp) -> None:
    cards = (await running.anyone.get("/v1/models")).json()["data"]
    assert {card["max_model_len"] for card in cards} == {running.engine.info.max_model_len}


@pytest.mark.parametrize("safe", ["", "@"])
async def test_every_id_of_the_list_has_its_card(
    running: RunningApp, tmp_path: Path, safe: str
) -> None:
    version = await add_version(running, tmp_path)
    cards = (await running.anyone.get("/v1/models")).json()["data"]
    assert {"pawl", "pawl@base", f"pawl@{version}"} <= {card["id"] for card in cards}
    for card in cards:
        answer = await running.anyone.get(f"/v1/models/{quote(card['id'], safe=safe)}")
        assert (answer.status_code, answer.json()) == (200, card)


@pytest.mark.parametrize(
    "identifier",
    ["gpt-5", "pawl@nope", "pawl@live", "pawl/base", "pawl%2Fbase", "@", "pawl@", "a b"],
)
async def test_another_id_is_not_there_in_openais_shape(
    running: RunningApp, identifier: str
) -> None:
    answer = await running.anyone.get(f"/v1/models/{identifier}")
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert "GET /v1/models" in error["message"]


async def test_another_tenants_model_is_not_there(running: RunningApp) -> None:
    client = running.bearer(await running.key("app"))
    answer = await client.get("/v1/models/other")
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "model")
    assert (await client.get("/v1/models/common")).status_code == 200
