"""The example applications, run as they are against a server of their own."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes.serving_process import UNSUPERVISED, ServingProcess, serving

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
ROOT = EXAMPLES.parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("examples")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServingProcess]:
    with serving(tmp_path / "data", UNSUPERVISED) as started:
        yield started


def run_example(server: ServingProcess, name: str, question: str) -> str:
    """What the example prints."""
    own = {"PAWL_URL": server.server.url, "PAWL_KEY": server.server.token, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(EXAMPLES / name), question]
    done = subprocess.run(
        command, env={**os.environ, **own}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def the_rated_one(server: ServingProcess) -> dict[str, Any]:
    """The one interaction in the log, with its one judgement."""
    query = (
        "SELECT i.id, i.mode, i.status, i.request, c.text, f.metric_name, f.value, f.rater "
        "FROM interaction i JOIN choice c ON c.interaction_id = i.id "
        "JOIN feedback f ON f.interaction_id = i.id"
    )
    with closing(sqlite3.connect(server.data_dir / "pawl.db")) as database:
        database.row_factory = sqlite3.Row
        (row,) = database.execute(query).fetchall()
    return {**row, "request": json.loads(row["request"]), "value": json.loads(row["value"])}


def test_the_chain_with_retrieval_answers_and_rates(server: ServingProcess) -> None:
    said = run_example(server, "langchain_retrieval.py", "Which header names the interaction?")
    row = the_rated_one(server)
    assert row["text"] in said
    assert f"rated {row['id']}: {{'sent': 1, 'waiting': 0, 'failed': 0, 'dropped': 0}}" in said
    assert (row["mode"], row["status"]) == ("live", "complete")
    assert (row["metric_name"], row["value"], row["rater"]) == ("thumbs", True, "ada")
    notes, question = row["request"]["messages"]
    assert "x-pawl-interaction" in notes["content"]
    assert question["content"] == "Which header names the interaction?"


def test_the_plain_client_streams_and_rates(server: ServingProcess) -> None:
    said = run_example(server, "openai_stream.py", "How long is delivery?")
    row = the_rated_one(server)
    assert row["text"] in said
    assert f"rated {row['id']}" in said
    assert row["request"]["stream"] is True
    assert (row["metric_name"], row["value"]) == ("thumbs", True)
