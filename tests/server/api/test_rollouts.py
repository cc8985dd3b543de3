"""`/v1/rollouts`: what an administrator sees and says, and what the metrics show of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.routing.route import bucket
from retrain.rollout.decisions import Phase
from tests.adapters.adapter_files import make_adapter
from tests.server.metrics.test_metrics import shown, value
from tests.server.running_app import RunningApp, chat_body, running_app

pytestmark = pytest.mark.anyio

CANARY = {"shadow_answers": 0, "first_requests": 0}


@pytest.fixture
async def running(anyio_backend: object, tmp_path: Path) -> AsyncIterator[RunningApp]:
    """An app that rolls out in stages."""
    retrain = {"enabled": False, "rollout_seconds": 3_600, "rollout": "canary", "canary": CANARY}
    async with running_app(tmp_path / "data", retrain=retrain) as app:
        yield app


async def begun(running: RunningApp, folder: Path, channel: str = "pawl") -> str:
    """A version on its way, as a run leaves it."""
    seed = sum(channel.encode())
    path = str(make_adapter(folder / "adapter", seed))
    body = {"path": path, "channel": channel}
    version = str((await running.operator.post("/v1/adapters", json=body)).json()["name"])
    await running.services.runs.rollouts.begin(version, channel, None, "It is better.")
    return version


async def tick(running: RunningApp) -> None:
    await running.services.runs.rollouts.tick()


def message(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


async def test_a_channels_rollouts_are_listed(running: RunningApp, tmp_path: Path) -> None:
    version = await begun(running, tmp_path)
    (listed,) = (await running.operator.get("/v1/rollouts")).json()
    assert (listed["version"], listed["phase"], listed["previous"]) == (version, "canary", "base")
    assert listed["settings"]["gate"]["rated_users"] == 200
    assert (await running.operator.get("/v1/rollouts?channel=common")).json() == []


async def test_a_rollout_is_shown_with_its_decisions(running: RunningApp, tmp_path: Path) -> None:
    version = await begun(running, tmp_path)
    await tick(running)
    found = (await running.operator.get(f"/v1/rollouts/{version}")).json()
    assert [event["move"] for event in found["events"]] == ["begin", "canary"]
    assert found["verdict"]["outcome"] == "continue"
    assert [stage["share"] for stage in found["stages"]] == [0.0, 0.5]


async def test_the_budget_of_a_channel_is_shown(running: RunningApp, tmp_path: Path) -> None:
    await begun(running, tmp_path)
    found = (await running.operator.get("/v1/budget")).json()
    assert (found["channel"], found["applies"], found["spent"]) == ("pawl", False, 0.0)
    assert found["wallet"] == found["cap"] == pytest.approx(0.02)
    assert (await running.operator.get("/v1/budget?channel=nope")).status_code == 404


async def test_a_rollout_shows_its_alpha_and_threshold(tmp_path: Path) -> None:
    retrain = {"enabled": False, "rollout": "canary", "canary": CANARY, "budget": {"weekly": True}}
    async with running_app(tmp_path / "data", retrain=retrain) as running:
        version = await begun(running, tmp_path)
        found = (await running.operator.get(f"/v1/rollouts/{version}")).json()
        assert found["alpha"] == pytest.approx(0.005)
        assert found["threshold"] == pytest.approx(400)


async def test_a_refusal_is_effective_with_its_answer(running: RunningApp, tmp_path: Path) -> None:
    version = await begun(running, tmp_path)
    roles = {(await asked(running, user)).headers["x-pawl-role"] for user in map(str, range(20))}
    assert roles == {"canary", "live"}
    answer = await running.operator.post(f"/v1/rollouts/{version}/refuse", json={"reason": "no"})
    assert (answer.json()["phase"], answer.json()["reason"]) == ("refused", "no")
    roles = {(await asked(running, user)).headers["x-pawl-role"] for user in map(str, range(20))}
    assert roles == {"live"}
    again = await running.operator.post(f"/v1/rollouts/{version}/refuse", json={"reason": "no"})
    assert (again.status_code, "refused already" in message(again)) == (409, True)


async def asked(running: RunningApp, user: str, **more: Any) -> httpx.Response:
    return await running.anyone.post("/v1/chat/completions", json=chat_body(user=user, **more))


async def test_what_waits_for_nobody_is_not_approved(running: RunningApp, tmp_path: Path) -> None:
    version = await begun(running, tmp_path)
    answer = await running.operator.post(f"/v1/rollouts/{version}/approve", json={"reason": ""})
    assert (answer.status_code, "does not wait for approval" in message(answer)) == (409, True)


async def test_an_approved_version_is_live(tmp_path: Path) -> None:
    retrain = {"enabled": False, "rollout_seconds": 3_600, "approval": "manual"}
    async with running_app(tmp_path / "data", retrain=retrain) as running:
        version = await begun(running, tmp_path)
        body = {"reason": "go"}
        answer = await running.operator.post(f"/v1/rollouts/{version}/approve", json=body)
        route = (await running.operator.get("/v1/route")).json()
    assert answer.json()["phase"] == "watch"
    assert (route["live"], route["holdback_share"]) == (version, 0.05)


@pytest.mark.parametrize("path", ["", "/approve", "/refuse"])
async def test_what_is_not_there_is_a_404(running: RunningApp, tmp_path: Path, path: str) -> None:
    method = "POST" if path else "GET"
    body = {"reason": ""} if path else None
    url = f"/v1/rollouts/nope{path}"
    assert (await running.operator.request(method, url, json=body)).status_code == 404
    added = {"path": str(make_adapter(tmp_path / "adapter"))}
    version = (await running.operator.post("/v1/adapters", json=added)).json()["name"]
    url = f"/v1/rollouts/{version}{path}"
    assert (await running.operator.request(method, url, json=body)).status_code == 404


async def test_a_rollout_of_another_tenant_is_not_there(
    running: RunningApp, tmp_path: Path
) -> None:
    version = await begun(running, tmp_path, channel="other")
    admin = running.bearer(await running.key("admin"))
    owner = running.bearer(await running.key("admin", "other"))
    assert (await admin.get("/v1/rollouts?channel=other")).status_code == 404
    assert (await admin.get(f"/v1/rollouts/{version}")).status_code == 404
    for word in ("approve", "refuse"):
        answer = await admin.post(f"/v1/rollouts/{version}/{word}", json={"reason": ""})
        assert answer.status_code == 404
    assert (await owner.get(f"/v1/rollouts/{version}")).json()["phase"] == "canary"


async def test_applications_have_no_say(running: RunningApp, tmp_path: Path) -> None:
    version = await begun(running, tmp_path)
    application = running.bearer(await running.key("app"))
    assert (await application.get("/v1/rollouts")).status_code == 403
    answer = await application.post(f"/v1/rollouts/{version}/refuse", json={"reason": ""})
    assert answer.status_code == 403


async def test_a_rollback_by_hand_ends_the_watch(running: RunningApp, tmp_path: Path) -> None:
    version = await begun(running, tmp_path)
    await running.services.registry.promote(version, actor="test", reason="", holdback_share=0.05)
    await tick(running)
    swap = (await running.operator.post("/v1/rollback", json={"reason": "no"})).json()
    assert (swap["version"], swap["previous"]) == ("base", version)
    await tick(running)
    found = (await running.operator.get(f"/v1/rollouts/{version}")).json()
    assert found["phase"] == "ended"


async def test_users_of_the_same_name_are_drawn_by_tenant(
    running: RunningApp, tmp_path: Path
) -> None:
    """What one tenant's users meet says nothing of another's: units must be independent."""
    await begun(running, tmp_path, channel="common")
    trial = running.services.registry.routes()["common"].trial
    users = [f"user {number}" for number in range(30)]
    roles: dict[str, list[str]] = {}
    for tenant in ("shop", "mill"):
        client = running.bearer(await running.key("app", tenant))
        answers = [
            await client.post("/v1/chat/completions", json=chat_body(model="common", user=user))
            for user in users
        ]
        roles[tenant] = [answer.headers["x-pawl-role"] for answer in answers]
        expected = [
            "canary" if bucket(trial, f"{tenant}\0{user}") < 0.5 else "live" for user in users
        ]
        assert roles[tenant] == expected
    assert roles["shop"] != roles["mill"]


async def test_metrics_show_phases_and_the_evidence_under_way(
    running: RunningApp, tmp_path: Path
) -> None:
    phases = dict.fromkeys(Phase, 0.0)
    found = await shown(running)
    counted = {
        phase: value(found, "pawl_rollouts_total", channel="pawl", phase=phase) for phase in Phase
    }
    assert counted == phases
    version = await begun(running, tmp_path)
    await tick(running)
    found = await shown(running)
    assert value(found, "pawl_rollouts_total", channel="pawl", phase="canary") == 1
    assert value(found, "pawl_rollout_evidence", channel="pawl", claim="worse (first)") == 1
    await running.services.runs.rollouts.refuse(version, actor="test", reason="")
    await tick(running)
    found = await shown(running)
    assert value(found, "pawl_rollouts_total", channel="pawl", phase="refused") == 1
    assert not [name for name, _ in found if name == "pawl_rollout_evidence"]
