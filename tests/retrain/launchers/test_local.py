"""Trainers as subprocesses."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrain.config import TrainerConfig
from retrain.errors import TrainingError
from retrain.launchers.local import LOG_MAX, SubprocessLauncher, trainer_environment
from retrain.trainer.events import Event, Failed, Saved, Step
from tests.retrain.world import FAKE_TRAINER
from tests.waiting import until

pytestmark = pytest.mark.anyio


def launcher(behaviour: str) -> SubprocessLauncher:
    command = (sys.executable, str(FAKE_TRAINER), behaviour)
    return SubprocessLauncher(TrainerConfig(command=command, terminate_seconds=5))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"output": str(tmp_path / "adapter")}))
    return path


async def finished(behaviour: str, job: Path) -> tuple[list[Event], int]:
    process = await launcher(behaviour).launch(job)
    events = [event async for event in process.events()]
    return events, await process.wait()


async def test_the_events_come_as_they_are_said(job: Path) -> None:
    events, code = await finished("good", job)
    assert [type(event) for event in events] == [Step, Step, Saved]
    assert code == 0


async def test_what_is_no_event_is_passed_over(job: Path) -> None:
    events, _ = await finished("chatters", job)
    assert [type(event) for event in events] == [Step, Step, Saved]


async def test_a_failure_is_told_with_its_exit_code(job: Path) -> None:
    events, code = await finished("fails", job)
    assert isinstance(events[-1], Failed)
    assert code == 3


async def test_standard_error_is_kept(job: Path) -> None:
    await finished("good", job)
    assert job.with_name("trainer.log").read_text() == "a warning\n"


async def test_standard_error_never_fills_the_disk(job: Path) -> None:
    await finished("floods", job)
    logs = [path.stat().st_size for path in job.parent.glob("trainer.log*")]
    assert len(logs) == 2
    assert max(logs) <= LOG_MAX


async def test_terminating_ends_it_and_whatever_it_started(job: Path) -> None:
    process = await launcher("forks").launch(job)
    events = process.events()
    await anext(events)
    await anext(events)
    child = int(job.with_name("child").read_text())
    await process.terminate()
    assert await process.wait() < 0
    assert not _runs(process.pid)
    await until(lambda: not _runs(child))  # it was killed; the kernel says when it is gone


async def test_what_a_killed_trainer_leaves_is_ended_and_not_waited_for(job: Path) -> None:
    async with asyncio.timeout(30):
        _, code = await finished("leaves", job)
    await until(lambda: not _runs(int(job.with_name("child").read_text())))
    assert code == -9


async def test_what_has_left_a_killed_trainers_group_is_not_waited_for(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrain.launchers.local.PIPES_SECONDS", 0.1)
    try:
        async with asyncio.timeout(30):
            events, code = await finished("escapes", job)
    finally:
        os.kill(int(job.with_name("child").read_text()), signal.SIGKILL)
    assert ([type(event) for event in events], code) == ([Step], -9)


async def test_a_log_that_cannot_be_written_stops_no_trainer(job: Path) -> None:
    job.with_name("trainer.log").mkdir()
    with capture_logs() as logs:
        async with asyncio.timeout(30):
            _, code = await finished("floods", job)
    assert code == 0
    assert [entry["event"] for entry in logs] == ["trainer_log_incomplete"]


async def test_terminating_twice_is_fine(job: Path) -> None:
    process = await launcher("hangs").launch(job)
    await process.terminate()
    await process.terminate()
    assert not _runs(process.pid)


async def test_a_leftover_of_an_earlier_process_is_ended(job: Path) -> None:
    process = await launcher("hangs").launch(job)
    await launcher("good").kill_leftover(job)
    assert await process.wait() == -9


async def test_another_process_of_the_same_pid_is_left_alone(job: Path) -> None:
    process = await launcher("hangs").launch(job)
    job.with_name("trainer.pid").write_text(f"{process.pid} 1")
    await launcher("good").kill_leftover(job)
    assert _runs(process.pid)
    await process.terminate()


async def test_without_a_pid_file_there_is_no_leftover(job: Path) -> None:
    await launcher("good").kill_leftover(job)


async def test_a_command_that_is_not_there_says_so(job: Path) -> None:
    missing = SubprocessLauncher(TrainerConfig(command=("no-such-launcher",)))
    with pytest.raises(TrainingError, match="no-such-launcher cannot be started"):
        await missing.launch(job)


def test_a_trainer_dies_with_us_under_a_launcher_too() -> None:
    under = ("accelerate", "launch", "-m", "retrain.trainer")
    for config in (TrainerConfig(), TrainerConfig(command=under)):
        assert SubprocessLauncher(config).parent_pid == os.getpid()


def test_a_trainer_elsewhere_cannot_die_with_us() -> None:
    elsewhere = TrainerConfig(command=("srun", "python", "-m", "retrain.trainer"), descendant=False)
    assert SubprocessLauncher(elsewhere).parent_pid is None


def test_our_settings_stay_with_us() -> None:
    environment = {"PATH": "/bin", "PAWL_RETRAIN__JUDGE__API_KEY": "secret"}
    assert trainer_environment(environment) == {"PATH": "/bin"}


def _runs(pid: int) -> bool:
    """Whether the process is there and no zombie (a child of a dead parent may wait for init)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
