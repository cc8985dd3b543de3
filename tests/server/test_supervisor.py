"""The supervising parent, with real children."""

import signal
import subprocess
import sys
from pathlib import Path

SUPERVISE = """
import sys
from server.supervisor import Supervisor
sys.exit(Supervisor([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], restart_seconds=0).run())
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


def test_sigterm_reaches_the_child_and_ends_both() -> None:
    parent = subprocess.Popen(_supervise(WAITS), stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=30) == 0
    parent.stdout.close()
