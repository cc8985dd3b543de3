"""What `/metrics` shows: every figure that is promised, from the start, and nobody's name."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.metrics.metrics import Metrics
from tests.adapters.adapter_files import make_adapter
from tests.server.running_app import RunningApp, chat_body

pytestmark = pytest.mark.anyio

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def shown(running: RunningApp) -> Samples:
    return samples((await running.anyone.get("/metrics")).text)


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


BASE = {"channel": "pawl", "version": "base"}
REQUEST = {**BASE, "role": "live", "mode": "live", "endpoint": "chat"}
EARLY: list[tuple[str, dict[str, str]]] = [
    *(
        ("pawl_requests_total", {**REQUEST, "status": status})
        for status in ("complete", "aborted", "failed")
    ),
    ("pawl_tokens_total", {**BASE, "direction": "prompt"}),
    ("pawl_tokens_total", {**BASE, "direction": "completion"}),
    ("pawl_time_to_first_token_seconds_count", BASE),
    ("pawl_request_duration_seconds_count", BASE),
    ("pawl_late_commits_total", {}),
    ("pawl_recorder_queue_rows", {}),
    ("pawl_recorder_commit_seconds_count", {}),
    ("pawl_recorder_rows_total", {}),
    ("pawl_recorder_failed_rows_total", {"reason": "RecorderFullError"}),
    ("pawl_feedback_total", {"metric": "thumbs", "version": "base"}),
    ("pawl_feedback_total", {"metric": "preference", "version": "base"}),
    ("pawl_route_epoch", {"channel": "pawl"}),
    ("pawl_swap_seconds_count", {"channel": "pawl"}),
    ("pawl_live_fallbacks_total", {"channel": "pawl"}),
    ("pawl_adapter_load_failures_total", {}),
    ("pawl_runs_total", {"channel": "pawl", "state": "failed"}),
    ("pawl_gate_decisions_total", {"channel": "pawl", "outcome": "promote"}),
    ("pawl_gate_decisions_total", {"channel": "pawl", "outcome": "reject"}),
]


async def test_counters_are_there_before_anything_is_counted(running: RunningApp) -> None:
    found = await shown(running)
    assert {(name, frozenset(labels.items())) for name, labels in EARLY} <= found.keys()
    assert {value(found, name, **labels) for name, labels in EARLY} == {0.0}
    assert value(found, "pawl_live_version_info", **BASE) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_counted_under_its_version(running: RunningApp, stream: bool) -> None:
    answer = await running.anyone.post("/v1/chat/completions", json=chat_body(stream=stream))
    row = await running.anyone.get(f"/v1/interactions/{answer.headers['x-pawl-interaction']}")
    found = await shown(running)
    assert value(found, "pawl_requests_total", **REQUEST, status="complete") == 1
    tokens = {
        direction: value(found, "pawl_tokens_total", **BASE, direction=direction)
        for direction in ("prompt", "completion")
    }
    assert tokens == {
        "prompt": row.json()["prompt_tokens"],
        "completion": row.json()["completion_tokens"],
    }
    assert value(found, "pawl_time_to_first_token_seconds_count", **BASE) == 1
    assert value(found, "pawl_recorder_rows_total") == 1


async def test_feedback_is_counted_by_metric_and_version(running: RunningApp) -> None:
    answer = await running.anyone.post("/v1/chat/completions", json=chat_body())
    body = {"inference_id": answer.json()["id"], "metric_name": "thumbs", "value": False}
    for _ in range(2):
        await running.anyone.post("/v1/feedback", json={**body, "id": "once"})
    found = await shown(running)
    assert value(found, "pawl_feedback_total", metric="thumbs", version="base") == 1


async def test_a_swap_shows_its_time_its_epoch_and_who_is_live(
    running: RunningApp, tmp_path: Path
) -> None:
    adapter = str(make_adapter(tmp_path / "adapter"))
    version = (await running.operator.post("/v1/adapters", json={"path": adapter})).json()["name"]
    await running.operator.post(f"/v1/adapters/{version}/promote", json={"reason": "a test"})
    found = await shown(running)
    assert value(found, "pawl_swap_seconds_count", channel="pawl") == 1
    assert value(found, "pawl_route_epoch", channel="pawl") == 1
    assert value(found, "pawl_live_version_info", channel="pawl", version=version) == 1
    assert ("pawl_live_version_info", frozenset(BASE.items())) not in found


@pytest.mark.parametrize("purpose", ["evaluation", "counterpart"])
async def test_our_own_traffic_stays_out_of_the_times(running: RunningApp, purpose: str) -> None:
    headers = {"x-pawl-purpose": purpose}
    await running.operator.post("/v1/chat/completions", json=chat_body(), headers=headers)
    found = await shown(running)
    own = {**REQUEST, "mode": purpose, "status": "complete"}
    assert value(found, "pawl_requests_total", **own) == 1
    assert value(found, "pawl_time_to_first_token_seconds_count", **BASE) == 0


async def test_no_user_key_or_conversation_is_a_label(running: RunningApp) -> None:
    client = running.bearer(await running.key("app"))
    answer = await client.post("/v1/chat/completions", json=chat_body(user="ada-lovelace"))
    identifier = answer.json()["id"]
    body = {"inference_id": identifier, "metric_name": "thumbs", "value": True, "rater": "bob-b"}
    assert (await client.post("/v1/feedback", json=body)).status_code == 200
    text = (await running.anyone.get("/metrics")).text
    assert not {word for word in ("ada-lovelace", "bob-b", identifier) if word in text}


def test_one_channels_run_does_not_hide_anothers() -> None:
    metrics = Metrics()
    metrics.runs.run_state("a", "running", "train")
    metrics.runs.run_state("b", "running", "snapshot")
    metrics.runs.run_state("b", "failed", None)
    found = samples(metrics.exposition().decode())
    steps = {labels for name, labels in found if name == "pawl_run_step"}
    assert steps == {frozenset({("channel", "a"), ("step", "train")})}


def test_labels_are_shown_by_verdict() -> None:
    metrics = Metrics()
    metrics.runs.run_labels("a", 5, 2)
    found = samples(metrics.exposition().decode())
    labels = {labels: count for (name, labels), count in found.items() if name == "pawl_run_labels"}
    up, down = ({("channel", "a"), ("verdict", verdict)} for verdict in ("up", "down"))
    assert labels == {frozenset(up): 5, frozenset(down): 2}


def test_a_search_for_counterparts_replaces_the_one_before() -> None:
    metrics = Metrics()
    metrics.runs.run_counterparts("a", {"counterpart": {"pair": 3, "failed": 1}, "self_play": {}})
    metrics.runs.run_counterparts("a", {"counterpart": {"pair": 4}, "self_play": {"pair": 2}})
    found = samples(metrics.exposition().decode())
    one = {"channel": "a", "outcome": "pair"}
    assert value(found, "pawl_run_counterparts", **one, origin="counterpart") == 4
    assert value(found, "pawl_run_counterparts", **one, origin="self_play") == 2
    assert [name for name, _ in found].count("pawl_run_counterparts") == 2


def test_a_snapshot_replaces_the_one_before() -> None:
    metrics = Metrics()
    metrics.runs.run_pairs("a", {"thumbs": 3, "ranking": 1}, {"capped": 2})
    metrics.runs.run_pairs("a", {"thumbs": 4}, {})
    found = samples(metrics.exposition().decode())
    pairs = {labels: count for (name, labels), count in found.items() if name == "pawl_run_pairs"}
    assert pairs == {frozenset({("channel", "a"), ("signal", "thumbs")}): 4}
    assert not [name for name, _ in found if name == "pawl_run_left_out"]
