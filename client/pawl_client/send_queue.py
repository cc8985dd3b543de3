"""What waits to be sent: first in, first out, bounded by rows and by bytes."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class SendQueue(Generic[T]):
    """A queue that never makes whoever puts wait. What was taken counts until it is `done`.

    `put` may be called again in the midst of a `put`, as happens where Python's garbage collector
    ends an abandoned stream: unlike `queue.Queue`, the lock lets its holder in.
    """

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._rows: deque[tuple[T, int]] = deque()
        self._taken: list[tuple[T, int]] = []
        self._bytes = 0
        self._let_in = 0
        self._left = 0
        self._closed = False
        self._changed = Condition()

    @property
    def rows(self) -> int:
        """How many wait or are being sent."""
        return self._let_in - self._left

    @property
    def bytes(self) -> int:
        """What they weigh."""
        return self._bytes

    def put(self, item: T, size: int) -> bool:
        """Let an item of `size` bytes in, if there is room and nobody has closed."""
        with self._changed:
            full = self.rows >= self._rows_max or self._bytes + size > self._bytes_max
            if full or self._closed:
                return False
            self._rows.append((item, size))
            self._bytes += size
            self._let_in += 1
            self._changed.notify_all()
            return True

    def take(self, joins: Callable[[Sequence[T], T], bool]) -> list[T]:
        """Wait for the oldest, and take those after it as long as they join; [] once closed.

        One consumer at a time; it calls `done` before it takes again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._closed)
            while self._rows and (not self._taken or joins(self._items, self._rows[0][0])):
                self._taken.append(self._rows.popleft())
            return self._items

    def done(self) -> None:
        """What was taken is sent or given up."""
        with self._changed:
            self._bytes -= sum(size for _, size in self._taken)
            self._left += len(self._taken)
            self._taken.clear()
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait, at most `timeout` seconds, until all that is in now has left; whether it has."""
        with self._changed:
            last = self._let_in
            return self._changed.wait_for(lambda: self._left >= last, timeout)

    def close(self) -> int:
        """Let nothing in any more and throw out what nobody has taken; how many those were."""
        with self._changed:
            thrown = len(self._rows)
            self._bytes -= sum(size for _, size in self._rows)
            self._left += thrown
            self._rows.clear()
            self._closed = True
            self._changed.notify_all()
            return thrown

    @property
    def _items(self) -> list[T]:
        return [item for item, _ in self._taken]
