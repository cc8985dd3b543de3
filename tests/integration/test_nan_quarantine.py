"""An adapter that makes the real engine compute NaN: quarantined, and nobody else is harmed."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.processes.serving_process import ServingProcess, chat_body, serving
from tests.integration.test_server_engine import CHAT, ENGINE, FAST
from tests.integration.test_server_process import stored
from tests.tiny_model import make_random_adapter

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(400),
]

LET_IN = {"PAWL_ADAPTERS__MAX_UPDATE_RATIO": "1e308"}
"""Vetting out of the way: the alarm is the second line."""

QUESTIONS = [f"When do the tomatoes ripen in year {year}?" for year in range(20)]


def huge_adapter(folder: Path, base: Path) -> Path:
    """An adapter whose weights are finite and whose alpha makes the engine overflow."""
    made = make_random_adapter(folder, base=base, seed=3)
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 1e25}))
    return made


def add(client: httpx.Client, folder: Path) -> httpx.Response:
    return client.post("/v1/adapters", json={"path": str(folder)})


def ask(client: httpx.Client, model: str, text: str) -> httpx.Response:
    body: dict[str, Any] = chat_body(model=model, max_tokens=8, temperature=0)
    body["messages"] = [{"role": "user", "content": text}]
    return client.post(CHAT, json=body)


def answers(server: ServingProcess) -> list[str]:
    """What the live version and the base model say to the questions."""
    with server.client(timeout=120) as client:
        said = [ask(client, model, text) for model in ("pawl", "pawl@base") for text in QUESTIONS]
    return [answer.json()["choices"][0]["message"]["content"] for answer in said]


def test_a_huge_adapter_is_refused_before_it_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", FAST, model=tiny_model, settings=ENGINE) as server:
        with server.client() as client:
            refused = add(client, huge_adapter(tmp_path / "huge", tiny_model))
            listed = client.get("/v1/adapters").json()
        assert refused.status_code == 422
        assert "times the base model's own weight" in refused.json()["error"]["message"]
        assert listed == []


def test_one_that_is_let_in_is_quarantined_and_others_answers_stay_right(
    tiny_model: Path, tmp_path: Path
) -> None:
    settings = {**ENGINE, **LET_IN}
    with serving(tmp_path / "data", FAST, model=tiny_model, settings=settings) as server:
        with server.client() as client:
            live = add(client, make_random_adapter(tmp_path / "live", base=tiny_model, seed=1))
            name = live.json()["name"]
            client.post(f"/v1/adapters/{name}/promote", json={"reason": "test"})
            bad = add(client, huge_adapter(tmp_path / "huge", tiny_model)).json()["name"]
        before = answers(server)
        with server.client() as client:
            spoiled = ask(client, f"pawl@{bad}", "tomatoes " * 60)
        assert spoiled.status_code == 503
        server.wait_ready()
        assert answers(server) == before
        with server.client() as client:
            states = {row["name"]: row["state"] for row in client.get("/v1/adapters").json()}
            events = client.get(f"/v1/adapters/{bad}/events").json()
        assert states == {name: "live", bad: "rejected"}
        assert "no finite logits" in events[-1]["reason"]
        row = stored(server, spoiled.headers["x-pawl-interaction"])
        assert row is not None
        assert row[:2] == ("failed", "NotFiniteError")
