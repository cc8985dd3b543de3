"""`python -m retrain.trainer` as its caller sees it: exit codes, event lines, and what is left."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from retrain.trainer.events import Event, Failed, Saved, Started, Step, parse_event
from tests.retrain.trainer.tiny import make_base, write_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COMMAND = [sys.executable, "-m", "retrain.trainer"]
ENDLESS = {"epochs": 1_000_000}
PARENT = """
import json, os, subprocess, sys
path = sys.argv[1]
job = json.load(open(path)) | {"parent_pid": os.getpid()}
json.dump(job, open(path, "w"))
subprocess.run([sys.executable, "-m", "retrain.trainer", path])
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("model") / "base")


def finished(job: Path) -> tuple[int, list[Event]]:
    """Run a job to its end; every line of its standard output must be an event."""
    done = subprocess.run([*COMMAND, str(job)], capture_output=True, check=False)
    return done.returncode, [parse_event(line) for line in done.stdout.splitlines()]


def wait_for_a_step(stream: IO[bytes]) -> None:
    for line in stream:
        if isinstance(parse_event(line), Step):
            return
    pytest.fail("the trainer ended before its first step")


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"job.json", "pairs.jsonl"}


def test_standard_output_carries_event_lines_only(tmp_path: Path, base: Path) -> None:
    code, events = finished(write_job(tmp_path, base))
    assert code == 0
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Saved)
    assert all(event.time is not None for event in events)
    assert left_in(tmp_path) == {"adapter"}


def test_a_loss_that_explodes_exits_with_3_and_leaves_nothing(tmp_path: Path, base: Path) -> None:
    code, events = finished(write_job(tmp_path, base, hyper={"learning_rate": 1e30, "epochs": 3}))
    assert code == 3
    assert isinstance(events[-1], Failed)
    assert (events[-1].reason, events[-1].exit_code) == ("NonFiniteError", 3)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hyper": {"learning_rate": 0}}, "hyper.learning_rate"),
        ({"rows": [{"id": "a", "signal": "somebody's secret"}]}, "line 1"),
    ],
)
def test_a_job_that_cannot_be_run_exits_with_2_and_says_why(
    tmp_path: Path, base: Path, fields: dict[str, Any], named: str
) -> None:
    path = write_job(tmp_path, base, rows=fields.pop("rows", None), hyper=fields.pop("hyper", None))
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    done = subprocess.run([*COMMAND, str(path)], capture_output=True, check=False)
    (last,) = (parse_event(line) for line in done.stdout.splitlines())
    assert isinstance(last, Failed)
    assert (done.returncode, last.exit_code) == (2, 2)
    assert named in last.message
    assert b"secret" not in done.stdout + done.stderr
    assert left_in(tmp_path) == set()


def test_without_a_job_file_it_exits_with_2() -> None:
    done = subprocess.run(COMMAND, capture_output=True, check=False)
    last = parse_event(done.stdout)
    assert done.returncode == 2
    assert isinstance(last, Failed)
    assert "usage" in last.message


def test_sigterm_ends_it_and_leaves_nothing(tmp_path: Path, base: Path) -> None:
    job = write_job(tmp_path, base, hyper=ENDLESS)
    with subprocess.Popen(
        [*COMMAND, str(job)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as trainer:
        assert trainer.stdout is not None
        wait_for_a_step(trainer.stdout)
        trainer.send_signal(signal.SIGTERM)
        events = [parse_event(line) for line in trainer.stdout]
    assert trainer.returncode == 128 + signal.SIGTERM
    assert isinstance(events[-1], Failed)
    assert events[-1].reason == "Terminated"
    assert left_in(tmp_path) == set()


def test_it_dies_with_its_parent_and_the_next_run_clears_what_it_left(
    tmp_path: Path, base: Path
) -> None:
    job = write_job(tmp_path, base, hyper=ENDLESS)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        wait_for_a_step(parent.stdout)
        parent.kill()
        rest = parent.stdout.read()  # ends when the trainer, which holds the pipe, has died
    assert b'"saved"' not in rest
    assert not (tmp_path / "adapter").exists()
    assert left_in(tmp_path) == {".adapter.partial"}
    assert finished(write_job(tmp_path, base, events="events.jsonl")) == (0, [])
    assert left_in(tmp_path) == {"adapter", "events.jsonl"}
    last = (tmp_path / "events.jsonl").read_bytes().splitlines()[-1]
    assert isinstance(parse_event(last), Saved)


def test_a_parent_that_is_gone_before_it_starts_ends_it(tmp_path: Path, base: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    code, events = finished(write_job(tmp_path, base, parent_pid=gone.pid))
    assert code == 1
    assert isinstance(events[-1], Failed)
    assert "parent_pid" in events[-1].message
