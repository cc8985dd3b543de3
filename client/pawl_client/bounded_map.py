"""A bounded map that evicts its oldest entries."""

from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """Holds at most `size` entries with a total weight of at most `weight_max`. Thread-safe.

    Without `weigh` entries have no weight. The lock is reentrant, because Python's garbage
    collector may end an abandoned stream, and so call the map, in the middle of another call.
    """

    def __init__(
        self,
        size: int,
        *,
        weight_max: int = 0,
        weigh: Callable[[V], int] = lambda _: 0,
    ) -> None:
        self._size = size
        self._weight_max = weight_max
        self._weigh = weigh
        self._weight = 0
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = RLock()

    def put(self, key: K, value: V) -> int:
        """Set an entry as the newest and return how many of the oldest were evicted for it."""
        with self._lock:
            self.pop(key)
            self._entries[key] = value
            self._weight += self._weigh(value)
            return self._make_room()

    def get(self, key: K) -> V | None:
        """Return the entry, or None."""
        return self._entries.get(key)

    def pop(self, key: K) -> V | None:
        """Remove and return the entry, or return None."""
        with self._lock:
            value = self._entries.pop(key, None)
            if value is not None:
                self._weight -= self._weigh(value)
            return value

    def __len__(self) -> int:
        return len(self._entries)

    def _make_room(self) -> int:
        gone = 0
        while len(self._entries) > self._size or self._weight > self._weight_max:
            if not self._entries:
                break
            _, value = self._entries.popitem(last=False)
            self._weight -= self._weigh(value)
            gone += 1
        return gone
