"""A map that forgets: what was put in last stays, what is oldest goes."""

from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """At most `size` entries that weigh at most `weight_max` together; safe among threads.

    Without `weigh` entries weigh nothing. It may be called again in the midst of a call, as happens
    where Python's garbage collector ends an abandoned stream: the lock lets its holder in.
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
        """Set an entry and make it the newest; how many of the oldest went to make room."""
        with self._lock:
            self.pop(key)
            self._entries[key] = value
            self._weight += self._weigh(value)
            return self._make_room()

    def get(self, key: K) -> V | None:
        """The entry, or None."""
        return self._entries.get(key)

    def pop(self, key: K) -> V | None:
        """The entry, removed, or None."""
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
