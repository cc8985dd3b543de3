"""Draw a uniform sample of rows that do not fit into memory.

Rows are written to a temporary file with a pseudo-random priority each, which a seed and the row's
id decide; those with the lowest priorities are the sample. Memory holds one number per row of the
sample.
"""

import heapq
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from common.files import LineWriter


class DrawnRow(NamedTuple):
    """A row of the sample: its priority, the fields of its head, and the row itself."""

    priority: int
    head: list[bytes]
    row: bytes


class RowSample:
    """A sample of at most `limit` rows; `path` is a temporary file."""

    def __init__(self, path: Path, limit: int, seed: int) -> None:
        self._path, self._limit, self._seed = path, limit, seed
        self._writer = LineWriter(path)
        self._lowest: list[int] = []
        self.added = 0

    @property
    def dropped(self) -> int:
        """The number of rows that are not in the sample."""
        return max(0, self.added - self._limit)

    def add(self, identifier: str, head: Sequence[bytes], row: bytes) -> None:
        """Add a row.

        Args:
            identifier: The row's id; together with the seed it decides whether the row is drawn.
            head: Fields that are returned with the row, as many for each.
            row: The row; like the fields without tabs and line breaks, as JSON is.

        """
        priority = self._priority(identifier)
        self.added += 1
        if len(self._lowest) < self._limit:
            heapq.heappush(self._lowest, -priority)
        elif self._limit:
            heapq.heappushpop(self._lowest, -priority)
        self._writer.write(b"\t".join((f"{priority:016x}".encode(), *head, row)))

    def drawn(self) -> Iterator[DrawnRow]:
        """Yield the rows of the sample, in the order of `add`. May be called several times."""
        self.close()
        threshold = -self._lowest[0] if self._lowest else -1
        with self._path.open("rb") as lines:
            for line in lines:
                first, *head, row = line.rstrip(b"\n").split(b"\t")
                if (priority := int(first, 16)) <= threshold:
                    yield DrawnRow(priority, head, row)

    def remove(self) -> None:
        """Remove the file."""
        self.close()
        self._path.unlink()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._writer.close()

    def _priority(self, identifier: str) -> int:
        digest = blake2b(f"{self._seed}:{identifier}".encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "big")
