import subprocess
import sys
from pathlib import Path

import pytest

from retrain.trainer.errors import JobError
from retrain.trainer.job import Job
from retrain.trainer.process import set_environment

CHILD = """
import signal, sys
from retrain.trainer.process import die_with_parent
die_with_parent(int(sys.argv[1]))
print("ready", flush=True)
signal.pause()
"""
PARENT = """
import os, subprocess, sys
launcher, child = sys.argv[1:-1], sys.argv[-1]
subprocess.run([*launcher, sys.executable, "-c", child, str(os.getpid())])
"""


UNDER_A_LAUNCHER = ["sh", "-c", '"$@"; exit', "sh"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], UNDER_A_LAUNCHER], ids=["parent", "ancestor"])
def test_the_process_dies_with_the_one_named(launcher: list[str]) -> None:
    command = [sys.executable, "-c", PARENT, *launcher, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        assert parent.stdout.read() == b""  # ends when nobody holds the pipe any more


def test_a_process_that_is_not_above_is_refused() -> None:
    code = """
from retrain.trainer.process import die_with_parent
from retrain.trainer.errors import TrainerError
try:
    die_with_parent({})
except TrainerError:
    print("refused")
"""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        program = code.replace("{}", str(other.pid))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
        other.communicate()
    assert done.stdout == b"refused\n"


def job(base_model: str) -> Job:
    return Job(base_model=base_model, pairs=Path("pairs.jsonl"), output=Path("adapter"))


def test_a_local_model_needs_no_network(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    set_environment(str(tmp_path), tmp_path, environment)
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_a_model_of_the_hub_may_be_fetched(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    set_environment("org/model", tmp_path, environment)
    assert "HF_HUB_OFFLINE" not in environment


def test_one_gpu_is_used_unless_the_caller_chose(tmp_path: Path) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "3"}
    set_environment("org/model", tmp_path, environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == "3"


def test_several_processes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="one process"):
        set_environment("org/model", tmp_path, {"WORLD_SIZE": "2"})
