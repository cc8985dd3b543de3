"""What survives a restart, and what a changed base model does to it."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.adapters.adapter_files import make_adapter
from tests.server.metrics.test_metrics import shown, value
from tests.server.running_app import RunningApp, chat_body, running_app

pytestmark = pytest.mark.anyio


async def live_version(running: RunningApp, tmp_path: Path) -> str:
    """A version that was brought in and made live."""
    adapter = str(make_adapter(tmp_path / "adapter"))
    added = await running.operator.post("/v1/adapters", json={"path": adapter})
    version: str = added.json()["name"]
    done = await running.operator.post(f"/v1/adapters/{version}/promote", json={"reason": "test"})
    assert done.status_code == 200
    return version


async def test_keys_versions_interactions_and_ratings_survive(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as before:
        version = await live_version(before, tmp_path)
        key = await before.key("app")
        answer = await before.bearer(key).post("/v1/chat/completions", json=chat_body())
    async with running_app(tmp_path / "data") as after:
        client = after.bearer(key)
        again = await client.post("/v1/chat/completions", json=chat_body())
        assert again.json()["model"] == f"pawl@{version}" == answer.json()["model"]
        assert again.json()["choices"] == answer.json()["choices"]
        rating = {"inference_id": answer.json()["id"], "metric_name": "thumbs", "value": True}
        assert (await client.post("/v1/feedback", json=rating)).status_code == 200
        row = (await client.get(f"/v1/interactions/{answer.json()['id']}")).json()
        assert (row["version"], len(row["feedback"])) == (version, 1)
        assert (await after.anyone.get("/v1/models")).status_code == 401


async def test_the_operators_token_does_not_survive(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as before:
        await before.key("app")
        token = before.services.operator_token
    async with running_app(tmp_path / "data") as after:
        assert (await after.bearer(token).get("/v1/keys")).status_code == 401


async def test_under_another_base_model_live_is_base_and_that_is_loud(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data") as before:
        version = await live_version(before, tmp_path)
    with capture_logs() as logs:
        async with running_app(tmp_path / "data", engine={"model": "another"}) as after:
            answer = await after.anyone.post("/v1/chat/completions", json=chat_body())
            assert answer.json()["model"] == "pawl@base"
            named = chat_body(model=f"pawl@{version}")
            assert (await after.anyone.post("/v1/chat/completions", json=named)).status_code == 404
            (row,) = (await after.operator.get("/v1/adapters")).json()
            assert (row["name"], row["state"]) == (version, "incompatible")
            found = await shown(after)
            assert value(found, "pawl_live_fallbacks_total", channel="pawl") == 1
    loud = [entry for entry in logs if entry["log_level"] == "error"]
    assert {"adapter_taken_out", "adapter_fell_back"} <= {entry["event"] for entry in loud}


async def test_a_version_that_cannot_be_loaded_any_more_leaves_chat_running(
    tmp_path: Path,
) -> None:
    async with running_app(tmp_path / "data") as before:
        version = await live_version(before, tmp_path)
        folder = tmp_path / "data" / "adapters" / "pawl" / version
    damage(folder)
    async with running_app(tmp_path / "data") as after:
        answer = await after.anyone.post("/v1/chat/completions", json=chat_body())
        assert answer.json()["model"] == "pawl@base"
        found = await shown(after)
        assert value(found, "pawl_live_fallbacks_total", channel="pawl") == 1


def damage(folder: Path) -> None:
    """Flip the last byte of the weights."""
    (weights,) = folder.parents[1].rglob(f"{folder.name}/adapter_model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
