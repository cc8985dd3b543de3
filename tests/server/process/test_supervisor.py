"""The supervising parent, with real children."""

import signal
import subprocess
import sys
from pathlib import Path

SUPERVISE = """
import sys
from server.process.backoff import Backoff
from server.process.supervisor import Supervisor
child = [sys.executable, "-c", *sys.argv[1:]]
sys.exit(Supervisor(child, backoff=Backoff(0, 0), hang_seconds=1).run())
"""

DIES_TWICE = """
import sys
from pathlib import Path
count = Path(sys.argv[1])
lives = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(lives))
sys.exit(0 if lives == 3 else 70)
"""

WAITS = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True)
signal.pause()
"""


BEATS = """
import os, signal, sys
from pathlib import Path
from server.process.supervision import Supervision
lives = Path(sys.argv[1])
told = Supervision.parse(sys.argv[-1].partition("=")[2])
with lives.open("a") as file:
    file.write(f"{told.parent == os.getppid()} {told.restarts}\\n")
os.write(told.heartbeat, b".")
if told.restarts == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
sys.exit(int(sys.argv[2]) if told.restarts < 3 else 0)
"""


LEAVES_A_CHILD = """
import os, subprocess, sys, time
from pathlib import Path
from server.process.supervision import Supervision
note = Path(sys.argv[1])
if Supervision.parse(sys.argv[-1].partition("=")[2]).restarts == 0:
    wait = "import sys; sys.stdin.read()"  # until its parent is gone
    left = subprocess.Popen([sys.executable, "-c", wait], stdin=subprocess.PIPE)
    note.write_text(str(left.pid))
    os._exit(70)
deadline = time.monotonic() + 20
while Path(f"/proc/{note.read_text()}").exists() and time.monotonic() < deadline:
    time.sleep(0.05)
sys.exit(2 if Path(f"/proc/{note.read_text()}").exists() else 0)
"""

AS_FIRST_PROCESS = """
import ctypes
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
"""


def _supervise(*arguments: str) -> list[str]:
    return [sys.executable, "-c", SUPERVISE, *arguments]


def test_a_dead_child_is_started_again_until_it_ends_well(tmp_path: Path) -> None:
    count = tmp_path / "lives"
    done = subprocess.run(
        _supervise(DIES_TWICE, str(count)), check=False, timeout=30, capture_output=True
    )
    assert (done.returncode, count.read_text()) == (0, "3")


def test_settings_that_cannot_work_are_not_tried_again() -> None:
    done = subprocess.run(_supervise("import sys; sys.exit(2)"), check=False, timeout=30)
    assert done.returncode == 2


def test_a_child_that_stops_beating_is_killed_and_replaced(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    done = subprocess.run(
        _supervise(BEATS, str(lives), "70"),
        check=False,
        timeout=30,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert lives.read_text().split("\n")[:-1] == [f"True {number}" for number in range(4)]
    assert "server_hangs" in done.stdout + done.stderr


def test_settings_that_have_served_before_are_tried_again(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    done = subprocess.run(
        _supervise(BEATS, str(lives), "2"), check=False, timeout=30, capture_output=True
    )
    assert (done.returncode, len(lives.read_text().splitlines())) == (0, 4)


def test_a_child_that_never_beat_is_given_its_time(tmp_path: Path) -> None:
    start = "import sys, time; time.sleep(1.5); sys.exit(0)"
    done = subprocess.run(_supervise(start), check=False, timeout=30)
    assert done.returncode == 0


def test_the_dead_that_the_first_process_inherits_are_collected(tmp_path: Path) -> None:
    command = _supervise(LEAVES_A_CHILD, str(tmp_path / "note"))
    command[2] = AS_FIRST_PROCESS + command[2]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_sigterm_reaches_the_child_and_ends_both() -> None:
    parent = subprocess.Popen(_supervise(WAITS), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=30) == 0
    parent.stdout.close()
