"""Draw a uniform sample of rows that do not fit into memory.

Rows are written to a temporary file with a pseudo-random priority each, which a seed and the row's
id decide; those with the lowest priorities are the sample. Memory holds one number per row of the
sample.
"""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

from common.files import LineWriter


class RowSample:
    """A sample of at most `limit` rows; `path` is a temporary file."""

    def __init__(self, path: Path, limit: int, seed: int, words: int) -> None:
        """Open the file. `words` is the number of words in each row's head."""
        self._path, self._limit, self._seed, self._words = path, limit, seed, words
        self._writer = LineWriter(path)
        self._lowest: list[int] = []
        self.added = 0

    @property
    def dropped(self) -> int:
        """The number of rows that are not in the sample."""
        return max(0, self.added - self._limit)

    def add(self, identifier: str, head: Sequence[str], row: bytes) -> None:
        """Add a row.

        Args:
            identifier: The row's id; together with the seed it decides whether the row is drawn.
            head: Words without spaces or line breaks, returned with the row.
            row: The row, without line breaks.

        """
        priority = self._priority(identifier)
        self.added += 1
        if len(self._lowest) < self._limit:
            heapq.heappush(self._lowest, -priority)
        elif self._limit:
            heapq.heappushpop(self._lowest, -priority)
        self._writer.write(b" ".join((f"{priority:016x}".encode(), *map(str.encode, head), row)))

    def drawn(self) -> Iterator[tuple[list[str], bytes]]:
        """Yield head and row of each row of the sample, in the order of `add`; remove the file."""
        self.close()
        threshold = -self._lowest[0] if self._lowest else -1
        with closing(self._path.open("rb")) as lines:
            for line in lines:
                priority, *head, row = line.rstrip(b"\n").split(b" ", self._words + 1)
                if int(priority, 16) <= threshold:
                    yield [word.decode() for word in head], row
        self._path.unlink()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._writer.close()

    def _priority(self, identifier: str) -> int:
        digest = blake2b(f"{self._seed}:{identifier}".encode(), digest_size=8)
        return int.from_bytes(digest.digest(), "big")
