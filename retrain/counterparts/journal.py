"""A file of rows that grows by one at a time and survives crashes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from common.files import PRIVATE_FILE, sync

Row = TypeVar("Row", bound=BaseModel)


class Journal(Generic[Row]):
    """Rows as lines of JSON. All methods block, since they wait for the disk.

    A row that is not followed by a newline was being written when the process died; it is removed
    when the journal is opened.
    """

    def __init__(self, path: Path, kind: type[Row]) -> None:
        self.path = path
        self._kind = kind

    def open(self) -> list[Row]:
        """Create the file if there is none, mend it, and return its rows."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        with os.fdopen(descriptor, "r+b") as file:
            lines = file.read()
            whole = lines[: lines.rfind(b"\n") + 1]
            file.truncate(len(whole))
            os.fsync(file.fileno())
        sync(self.path.parent)
        return [self._kind.model_validate_json(line) for line in whole.splitlines()]

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows at the end, and sync."""
        with self.path.open("ab") as file:
            file.writelines(row.model_dump_json().encode() + b"\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
