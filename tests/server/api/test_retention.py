"""Retention as an operator meets it: the API, the daily work, metrics, and what a client sees."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from server.app import create_app
from server.cli.doctor import examine
from server.maintenance.daily import remove_old_texts
from server.maintenance.retention import too_short
from tests.server.running_app import RunningApp, chat_body, running_app, test_settings

pytestmark = pytest.mark.anyio

SECRET = "the safe is behind the tomatoes"


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def app(
    anyio_backend: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[RunningApp, Clock]]:
    """An app that keeps texts for sixty days, and removes them when it is told to."""
    clock = Clock()
    monkeypatch.setattr("server.assembly.assemble.start_housekeeping", lambda *_: None)
    monkeypatch.setattr("tests.server.running_app.create_app", _with(clock))
    async with running_app(tmp_path / "data", feedback={"retention_days": 60}) as running:
        yield running, clock


def _with(clock: Clock) -> Any:
    return lambda *arguments, **options: create_app(*arguments, clock=clock, **options)


async def answered(app: RunningApp) -> str:
    """An answered and commented request; its id."""
    asked = await app.anyone.post(
        "/v1/chat/completions", json=chat_body(messages=[{"role": "user", "content": SECRET}])
    )
    identifier = str(asked.json()["id"])
    await say(app, identifier, "comment", SECRET)
    return identifier


async def say(app: RunningApp, identifier: str, metric: str, value: object) -> int:
    body = {"inference_id": identifier, "metric_name": metric, "value": value}
    return (await app.anyone.post("/v1/feedback", json=body)).status_code


async def test_what_is_due_is_counted_and_then_removed(app: tuple[RunningApp, Clock]) -> None:
    running, clock = app
    await answered(running)
    clock.now += timedelta(days=61)
    await answered(running)
    counts = {"interactions": 1, "feedback": 1, "runs": 0}
    for method in ("GET", "POST"):
        found = (await running.anyone.request(method, "/v1/retention")).json()
        assert {name: found[name] for name in counts} == counts
    left = (await running.anyone.get("/v1/retention")).json()
    assert (left["interactions"], left["oldest_text"][:10]) == (0, "2027-01-21")


async def test_a_row_without_its_texts_says_so(app: tuple[RunningApp, Clock]) -> None:
    running, clock = app
    identifier = await answered(running)
    clock.now += timedelta(days=61)
    await running.anyone.post("/v1/retention")
    shown = await running.anyone.get(f"/v1/interactions/{identifier}")
    found = shown.json()
    assert SECRET not in shown.text
    assert (found["request"], found["choices"][0]["text"]) == (None, None)
    assert found["texts_removed_at"] == "2027-01-21T00:00:00Z"
    assert found["completion_tokens"] == found["choices"][0]["tokens"] > 0
    (word,) = found["feedback"]
    assert (word["metric_name"], word["value"]) == ("comment", None)
    assert word["texts_removed_at"] is not None


async def test_feedback_on_a_row_without_its_texts_is_taken(app: tuple[RunningApp, Clock]) -> None:
    running, clock = app
    identifier = await answered(running)
    clock.now += timedelta(days=61)
    await running.anyone.post("/v1/retention")
    assert await say(running, identifier, "thumbs", value=True) == 200
    words = (await running.anyone.get(f"/v1/interactions/{identifier}")).json()["feedback"]
    assert [word["value"] for word in words] == [None, True]


async def test_housekeeping_removes_and_metrics_tell(app: tuple[RunningApp, Clock]) -> None:
    running, clock = app
    await answered(running)
    clock.now += timedelta(days=61)
    await remove_old_texts(running.services.retention)
    told = (await running.anyone.get("/metrics")).text
    assert 'pawl_texts_removed_total{of="interactions"} 1.0' in told
    assert 'pawl_texts_removed_total{of="feedback"} 1.0' in told
    assert "pawl_oldest_text_timestamp_seconds 0.0" in told


async def test_a_database_that_is_away_is_counted(
    app: tuple[RunningApp, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, _ = app

    async def away(*_: object, **__: object) -> None:
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr("server.maintenance.retention.remove_texts", away)
    await remove_old_texts(running.services.retention)
    told = (await running.anyone.get("/metrics")).text
    assert "pawl_retention_failures_total 1.0" in told


async def test_without_a_setting_nothing_is_removed(running: RunningApp) -> None:
    identifier = await answered(running)
    for method in ("GET", "POST"):
        refused = await running.anyone.request(method, "/v1/retention")
        assert (refused.status_code, "feedback.retention_days" in refused.text) == (409, True)
    await remove_old_texts(running.services.retention)
    found = (await running.anyone.get(f"/v1/interactions/{identifier}")).json()
    assert (found["request"]["messages"][0]["content"], found["texts_removed_at"]) == (SECRET, None)


async def test_an_administrator_of_one_tenant_is_not_asked_for_all(running: RunningApp) -> None:
    client = running.bearer(await running.key("admin"))
    assert (await client.post("/v1/retention")).status_code == 403


@pytest.mark.parametrize(
    ("days", "window", "warned"), [(None, 56, False), (56, 56, False), (55.5, 56, True)]
)
def test_a_retention_that_training_feels_is_told(
    days: float | None, window: int, *, warned: bool
) -> None:
    assert (too_short(days, window) is not None) is warned


@pytest.mark.parametrize(("days", "state"), [(30, "warning"), (60, "ok")])
def test_the_doctor_looks_at_it(tmp_path: Path, days: int, state: str) -> None:
    settings = test_settings(tmp_path, feedback={"retention_days": days})
    found = {one.name: one.state for one in examine(settings)}
    assert found["retention"] == state
