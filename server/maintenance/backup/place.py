"""The location of a backup: a local folder, or an address that fsspec supports."""

import gzip
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from adapters.config import AdaptersConfig
from adapters.errors import AdaptersError
from adapters.store.filesystems import is_address, open_address, protocol_of, size_of
from common.files import sync
from server.errors import ServerError
from server.maintenance.backup.errors import BackupError
from server.maintenance.backup.manifest import MANIFEST

CHUNK = 1024 * 1024
"""Bytes that are read at once."""
LEVEL = 1
"""gzip's compression level: most of the gain for a small part of the time."""


class Place:
    """A folder in the fsspec file system `system`; `local` if it is on this machine's disk."""

    def __init__(self, system: Any, root: str, *, local: bool) -> None:
        self.system = system
        self.root = root
        self.local = local

    @classmethod
    def at(cls, place: str, config: AdaptersConfig) -> Self:
        """Open a folder or address; raises `BackupError`.

        `adapters.store_options` apply if the address has the protocol of `adapters.store`.
        """
        address = place if is_address(place) else f"file://{Path(place).expanduser().absolute()}"
        same = config.store is not None and protocol_of(config.store) == protocol_of(address)
        with failing():
            system, root = open_address(
                address,
                config.store_options if same else {},
                timeout_seconds=config.store_timeout_seconds,
                attempts=config.store_attempts,
            )
        return cls(system, root, local=protocol_of(address) == "file")

    def path(self, name: str) -> str:
        """Return the path of a file in the file system."""
        return f"{self.root}/{name}"

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it is missing."""
        return size_of(self.system, self.path(name))

    def read(self, name: str, limit: int) -> bytes:
        """Read the first `limit` bytes of a file; raises FileNotFoundError."""
        content: bytes = self.system.cat_file(self.path(name), start=0, end=limit)
        return content

    @contextmanager
    def stream(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading; raises FileNotFoundError."""
        with self.system.open(self.path(name), "rb") as file:
            yield file


class Written:
    """A file wrapper that computes the hash and size of what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Write `data`."""
        self._digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    @property
    def sha256(self) -> str:
        """The hash of what was written, in hex."""
        return self._digest.hexdigest()


class Draft:
    """A backup in progress; it counts as a backup only after `finish`."""

    def __init__(self, final: Place) -> None:
        self._final = final
        root = f"{final.root}.partial-{secrets.token_hex(4)}" if final.local else final.root
        self._place = Place(final.system, root, local=final.local)
        self._names: list[str] = []

    @contextmanager
    def packed(self, name: str) -> Iterator[tuple[gzip.GzipFile, Written]]:
        """Open a gzipped file for writing; the second value has its hash and size afterwards."""
        self._names.append(name)
        with self._place.system.open(self._place.path(name), "wb") as file:
            written = Written(file)
            packed = gzip.GzipFile("", "wb", LEVEL, cast("BinaryIO", written), mtime=0)
            with packed:
                yield packed, written

    def put(self, source: Path, name: str) -> None:
        """Copy a local file into the backup."""
        self._names.append(name)
        self._place.system.put_file(str(source), self._place.path(name))

    def finish(self, manifest: bytes) -> None:
        """Write the manifest and, on a local disk, move the backup to its final path."""
        self._place.system.pipe_file(self._place.path(MANIFEST), manifest)
        if self._place.local:
            folder, final = Path(self._place.root), Path(self._final.root)
            for path in (*folder.rglob("*"), folder):
                sync(path)
            folder.rename(final)
            sync(final.parent)

    def discard(self) -> None:
        """Remove the files of this draft."""
        if self._place.local:
            shutil.rmtree(self._place.root, ignore_errors=True)
            return
        for name in self._names:
            with suppress(FileNotFoundError):
                self._place.system.rm_file(self._place.path(name))


@contextmanager
def new_backup(place: Place) -> Iterator[Draft]:
    """Open a draft for `place`, which is discarded if the block raises; raises `BackupError`.

    Local files are readable by their owner only, because they hold users' texts.
    """
    with failing():
        if place.size(MANIFEST) is not None or (place.local and Path(place.root).exists()):
            raise BackupError("there is something at that place already: name a new one")
        draft = Draft(place)
        mask = os.umask(0o077)
        try:
            yield draft
        except BaseException:
            draft.discard()
            raise
        finally:
            os.umask(mask)


@contextmanager
def failing() -> Iterator[None]:
    """Turn errors of disks and remote stores into `BackupError`, without addresses or keys."""
    try:
        yield
    except ServerError:
        raise
    except AdaptersError as error:
        raise BackupError(str(error)) from error
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise BackupError(f"a file could not be read or written ({cause})") from error
    except Exception as error:
        raise BackupError(
            f"the place of the backup cannot be reached ({type(error).__name__}): check its "
            "address and credentials"
        ) from error
