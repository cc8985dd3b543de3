"""Atomic, durable files and folders: a reader sees all of one or nothing.

They hold users' texts, so only the owner of the process can read them.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


class FileRecord(BaseModel):
    """Checksum, size in bytes and number of lines of a file when it was written."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int
    lines: int


class LineWriter:
    """Writes lines to a new file, counting and hashing them; `close` syncs to disk."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        self._file = os.fdopen(descriptor, "wb")
        self._digest = sha256()
        self._size = self._lines = 0

    def write(self, line: bytes) -> None:
        """Write `line` and a newline."""
        whole = line + b"\n"
        self._file.write(whole)
        self._digest.update(whole)
        self._size += len(whole)
        self._lines += 1

    def close(self) -> FileRecord:
        """Sync, close and return the record of what was written. Safe to call twice."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return FileRecord(sha256=self._digest.hexdigest(), size=self._size, lines=self._lines)


def copied(source: Path, target: Path) -> FileRecord:
    """Copy the lines of a file to a new one, and return its record."""
    writer = LineWriter(target)
    with source.open("rb") as lines:
        for line in lines:
            writer.write(line.rstrip(b"\n"))
    return writer.close()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a draft folder beside `folder`; on success it is synced and replaces `folder`.

    A draft that an earlier attempt left is removed first. On an error the draft is removed and
    `folder` stays as it was.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=PRIVATE_FOLDER, parents=True)
    try:
        yield draft
        for path in (*draft.iterdir(), draft):
            sync(path)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to a draft, sync it and rename it to `path`."""
    draft = path.with_name(f".{path.name}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file's or folder's content to disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def matches(path: Path, record: FileRecord) -> bool:
    """Return whether the file exists with the recorded checksum."""
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest() == record.sha256
    except FileNotFoundError:
        return False
