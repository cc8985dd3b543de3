"""The command line without a server knows the base model by the fingerprint of the log."""

import json
from pathlib import Path

import pytest

from server.app import create_app, lifespan
from server.cli.offline_engine import start_offline
from server.engine.config import EngineConfig
from server.engine.errors import EngineStartError
from server.engine.fake.engine import FakeEngine
from server.engine.fingerprint import (
    base_fingerprint,
    base_folder,
    fingerprint_on_disk,
    model_fingerprint,
    revision_of,
)
from tests.server.running_app import LOOPBACK, chat_body, client_of, running_app, test_settings

pytestmark = pytest.mark.anyio


async def test_a_dry_run_without_a_server_sees_what_the_fake_engine_answered(
    tmp_path: Path,
) -> None:
    async with running_app(tmp_path) as app:
        answers = [
            await app.anyone.post("/v1/chat/completions", json=chat_body(user="ann"))
            for _ in range(2)
        ]
        better, worse = (answer.json()["id"] for answer in answers)
        word = {"metric_name": "preference", "inference_id": better, "value": {"over": worse}}
        said = await app.anyone.post("/v1/feedback", json=word)
        assert said.is_success, said.text
        running = (await app.operator.get("/v1/pairs")).json()["filters"]
    settings = test_settings(tmp_path)
    app_without = create_app(settings, start_engine=start_offline, offline=True)
    app_without.state.url = LOOPBACK
    async with lifespan(app_without):
        token = app_without.state.services.operator_token
        headers = {"authorization": f"Bearer {token}"}
        async with client_of(app_without, headers=headers) as client:
            offline = (await client.get("/v1/pairs")).json()["filters"]
    assert offline == running
    assert "foreign" not in offline


@pytest.mark.parametrize("model", ["fake", "", "another"])
async def test_the_fake_engine_and_the_offline_one_agree(model: str) -> None:
    config = EngineConfig(kind="fake", model=model)
    offline = (await start_offline(config)).info.model_fingerprint
    assert offline == FakeEngine(config).info.model_fingerprint != ""


def _model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.bin").write_bytes(b"weights")
    return folder


async def test_a_hub_id_is_found_where_it_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--shop--chat"
    revisions = {"main": "a" * 40, "v2": "b" * 40}
    for name, commit in revisions.items():
        folder = _model(cached / "snapshots" / commit)
        (folder / "config.json").write_text(name)
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / name).write_text(commit)
    newest = EngineConfig(model="shop/chat")
    second = EngineConfig(model="shop/chat", extra_args=["--revision", "v2"])
    assert base_folder(newest).name == "a" * 40
    assert base_folder(second).name == "b" * 40
    assert (await start_offline(second)).info.model_fingerprint == base_fingerprint(second)
    assert base_fingerprint(newest) != base_fingerprint(second)


def test_a_folder_is_known_by_its_files(tmp_path: Path) -> None:
    folder = _model(tmp_path / "model")
    assert base_fingerprint(EngineConfig(model=str(folder))) == model_fingerprint(folder)


@pytest.mark.parametrize("model", ["", "no/such-model", "/no/such/folder", "not a name!"])
def test_a_model_that_is_not_here_has_none(model: str) -> None:
    config = EngineConfig(model=model)
    assert fingerprint_on_disk(config) == ""
    with pytest.raises(EngineStartError, match=r"engine\.model"):
        base_fingerprint(config)


@pytest.mark.parametrize(
    ("arguments", "revision"),
    [
        ([], None),
        (["--revision", "v1"], "v1"),
        (["--revision=v1"], "v1"),
        (["--revision", "v1", "--revision=v2"], "v2"),
        (["--revision"], None),
    ],
)
def test_the_revision_is_the_last_one_given(arguments: list[str], revision: str | None) -> None:
    assert revision_of(arguments) == revision
