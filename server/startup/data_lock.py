"""The lock on a data folder (one server per folder), and a file that says where it listens.

The file holds a token that is new at each start. Whoever can read the folder counts as an operator,
so the command line can use the API of a running server without a key.
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

from common.files import PRIVATE_FILE, PRIVATE_FOLDER, write_whole
from server.errors import NotFreeError, path_errors
from server.startup.permissions import make_private

PATIENCE_SECONDS = 1.0
"""Seconds that `acquire` waits for a lock that is held."""
POLL_SECONDS = 0.02
"""Seconds between two attempts to take the lock."""
_LOCK_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Where the server of a data folder listens; `id` identifies it on its database."""

    url: str
    token: str
    pid: int
    id: str = ""


class DataLock:
    """A file lock held while a process uses a data folder; the kernel releases it at its end."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file: IO[str] | None = None

    def acquire(self, *, patience_seconds: float = PATIENCE_SECONDS) -> Self:
        """Create the folder if needed, take the lock and make the folder private.

        `running_server` holds the lock for a moment, so one failed attempt is not an error.

        Args:
            patience_seconds: How long to wait for the lock.

        Raises:
            NotFreeError: If another process holds the lock.
            SetupError: If the folder cannot be used, or not be made private.

        """
        with path_errors("data_dir"):
            self._data_dir.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            lock = os.open(self._data_dir / "server.lock", _LOCK_FLAGS, PRIVATE_FILE)
        file = os.fdopen(lock, "w")
        deadline = time.monotonic() + patience_seconds
        while not _locked(file, fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                file.close()
                raise NotFreeError(
                    f"another server works on {self._data_dir}: stop it, or choose another data_dir"
                )
            time.sleep(POLL_SECONDS)
        self._file = file
        self._note.unlink(missing_ok=True)  # of a server that was killed
        make_private(self._data_dir)
        return self

    def predecessor(self) -> str | None:
        """The id of the folder's last server if it was killed; None if it shut down properly."""
        try:
            return str(json.loads((self._data_dir / "server.json").read_text())["id"])
        except (OSError, ValueError, KeyError):
            return None

    def announce(self, server: RunningServer) -> None:
        """Write the file that says where the server listens, readable by its owner only."""
        write_whole(self._note, json.dumps(asdict(server)).encode())

    @property
    def _note(self) -> Path:
        return self._data_dir / "server.json"

    def release(self) -> None:
        """Release the lock; further calls do nothing."""
        if self._file is None:
            return
        self._note.unlink(missing_ok=True)
        self._file.close()
        self._file = None


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def running_server(data_dir: Path) -> RunningServer | None:
    """Return where the server of this folder listens; None if nothing holds the lock."""
    lock, note = data_dir / "server.lock", data_dir / "server.json"
    if not lock.exists():
        return None
    with lock.open() as file:
        if _locked(file, fcntl.LOCK_SH) or not note.exists():
            return None
        return RunningServer(**json.loads(note.read_text()))
