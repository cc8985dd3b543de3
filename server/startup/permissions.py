"""Permissions of the data folder, which holds users' texts and secrets: only its owner has access.

Pawl's processes create files for their owner only (`keep_private`), and at startup permissions of
others on an existing folder are removed (`make_private`).
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import structlog

from server.errors import SetupError

PRIVATE_UMASK = 0o077
OTHERS = 0o077
"""The permission bits of group and others."""
EVERYBODY_WRITES = 0o002
"""The write bit of others. A group's write bit is accepted: Kubernetes uses it (`fsGroup`) to give
a volume to a container's user."""

log = structlog.get_logger()


def keep_private() -> None:
    """Set the umask so that files of this process and its children are for their owner only."""
    os.umask(PRIVATE_UMASK)


def open_to_others(folder: Path) -> Iterator[Path]:
    """Yield the folder and the paths below it that grant permissions to group or others.

    Symbolic links are neither followed nor reported: their own permissions have no effect.
    """
    if _mode(folder) & OTHERS:
        yield folder
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            if _mode(path) & OTHERS:
                yield path


def make_private(folder: Path) -> None:
    """Remove the permissions of group and others from the folder and everything in it.

    Paths that belong to another user cannot be changed. For those a warning is logged: new files of
    Pawl are for their owner only in any case.

    Raises:
        SetupError: If everybody can write to such a path and so replace an adapter or a database.

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
    """Return the shell command that makes the folder private."""
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
    """Return the permission bits of a file or folder; 0 for a link or a missing path."""
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return 0
    return 0 if stat.S_ISLNK(found) else stat.S_IMODE(found)
