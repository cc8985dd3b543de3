"""Tracks which adapters an engine holds and how many requests each version has in flight."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from adapters.names import BASE
from server.engine.errors import AdapterLoadError, RequestRefusedError


class AdapterSlots:
    """The bookkeeping of an `AdapterHost`.

    It keeps the names and paths of unloaded adapters too, so that neither is reused for another
    adapter: vLLM keys its prefix cache by both (`vllm.v1.core.kv_cache_utils`).
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._paths: dict[str, Path] = {}
        self._resident: set[str] = set()
        self._in_flight: Counter[str] = Counter()

    @property
    def slots(self) -> int:
        """The number of adapters that can be resident at once."""
        return self._slots

    def _needs_loading(self, version: str, path: Path) -> bool:
        """Return whether `version` still has to be loaded from `path`.

        Raises `AdapterLoadError` if its name or path belonged to another adapter, or if all slots
        are taken.
        """
        if version == BASE:
            raise AdapterLoadError(version, "that name is the base model's.")
        if self._paths.get(version, path) != path:
            raise AdapterLoadError(version, "it was loaded from another folder: use a new name.")
        if any(other != version and known == path for other, known in self._paths.items()):
            raise AdapterLoadError(version, "its folder was another version: use a new folder.")
        if version in self._resident:
            return False
        if len(self._resident) >= self._slots:
            raise AdapterLoadError(version, f"all {self._slots} slots are taken: retire one first.")
        return True

    def _add(self, version: str, path: Path) -> None:
        """Mark `version` as resident."""
        self._paths[version] = path
        self._resident.add(version)

    def _remove(self, version: str) -> None:
        """Mark `version` as no longer resident."""
        self._resident.discard(version)

    def resident(self) -> frozenset[str]:
        """Return the adapter versions that can answer now."""
        return frozenset(self._resident)

    def _require(self, version: str) -> None:
        """Raise `RequestRefusedError` (404) for a version that is not resident."""
        if version != BASE and version not in self._resident:
            message = f"Version {version} is not loaded here."
            raise RequestRefusedError(message, param="model", status=404)

    def in_flight(self, version: str) -> int:
        """Return the number of requests of `version` that have not ended."""
        return self._in_flight[version]

    def _count_request(self, version: str) -> Callable[[], None]:
        """Count a request as in flight and return the function that ends the count.

        The returned function may be called more than once.
        """
        self._in_flight[version] += 1
        ended = False

        def end_request() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._in_flight[version] -= 1
                if not self._in_flight[version]:
                    del self._in_flight[version]

        return end_request
