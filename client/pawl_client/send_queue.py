"""The queue of rows to send: first in, first out, bounded in rows and bytes."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class SendQueue(Generic[T]):
    """A queue whose `put` never blocks. Taken items count until `done` is called.

    The lock is reentrant, unlike that of `queue.Queue`, because Python's garbage collector may end
    an abandoned stream, and so call `put`, in the middle of another `put`.
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
        """Return the number of items that wait or are being sent."""
        return self._let_in - self._left

    @property
    def bytes(self) -> int:
        """Return the total size of those items."""
        return self._bytes

    def put(self, item: T, size: int) -> bool:
        """Add an item of `size` bytes; return False if there is no room or the queue is closed."""
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
        """Wait for the oldest item and take it with those after it as long as `joins` is true.

        Returns [] once the queue is closed. For a single consumer, which calls `done` before it
        takes again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._closed)
            while self._rows and (not self._taken or joins(self._items, self._rows[0][0])):
                self._taken.append(self._rows.popleft())
            return self._items

    def done(self) -> None:
        """Mark the taken items as sent or given up."""
        with self._changed:
            self._bytes -= sum(size for _, size in self._taken)
            self._left += len(self._taken)
            self._taken.clear()
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all items present now are done; return False after `timeout` seconds."""
        with self._changed:
            last = self._let_in
            return self._changed.wait_for(lambda: self._left >= last, timeout)

    def close(self) -> int:
        """Accept no more items, drop those not yet taken and return their number."""
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
