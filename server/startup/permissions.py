"""The data folder is its owner's alone: it holds what people wrote and the secret under the ids.

Two locks on one door: nothing that a Pawl process makes can be opened by others (`keep_private`),
and a folder from before, or one that somebody widened, is narrowed at the start (`make_private`).
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import structlog

from server.errors import SetupError

PRIVATE_UMASK = 0o077
OTHERS = 0o077
"""The permissions of everybody but the owner."""
EVERYBODY_WRITES = 0o002
"""Unlike a group's leave, which is how Kubernetes gives a volume to the user of a container."""

log = structlog.get_logger()


def keep_private() -> None:
    """From now on let this process and its children make files for their owner alone."""
    os.umask(PRIVATE_UMASK)


def open_to_others(folder: Path) -> Iterator[Path]:
    """The folder and what lies under it, as far as others than the owner may use it.

    Links are neither followed nor told: their own permissions mean nothing.
    """
    if _mode(folder) & OTHERS:
        yield folder
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            if _mode(path) & OTHERS:
                yield path


def make_private(folder: Path) -> None:
    """Take every permission on the folder and what is in it from others than the owner.

    What belongs to somebody else cannot be changed. Raises `SetupError` where everybody could then
    write: they could put an adapter or a database of theirs in. Otherwise a warning is logged, and
    what Pawl puts into such a folder is still for its owner alone.
    """
    narrowed, left = 0, []
    for path in list(open_to_others(folder)):
        if _narrow(path):
            narrowed += 1
        else:
            left.append(path)
    if narrowed:
        log.warning("data_dir_made_private", narrowed=narrowed)
    writable = [path for path in left if _mode(path) & EVERYBODY_WRITES]
    if writable:
        raise SetupError(
            f"everybody may write to {writable[0]}, and it belongs to somebody else: "
            f"have its owner run {advice(folder)}, or choose another data_dir"
        )
    if left:
        log.warning("data_dir_open_to_others", places=len(left))


def advice(folder: Path) -> str:
    """The command that makes the folder private."""
    return f"chmod -R go-rwx {folder}"


def _narrow(path: Path) -> bool:
    try:
        path.chmod(_mode(path) & ~OTHERS)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    return True


def _mode(path: Path) -> int:
    """The permissions of a file or folder; none for a link, or for what is gone."""
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return 0
    return 0 if stat.S_ISLNK(found) else stat.S_IMODE(found)
