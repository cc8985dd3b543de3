"""Which adapters an engine holds, and how many requests each version has in flight."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from adapters.names import BASE
from server.engine.errors import AdapterLoadError, RequestRefusedError


class AdapterSlots:
    """An engine's part as `AdapterHost`; names and paths are never forgotten, so none is reused."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._paths: dict[str, Path] = {}
        self._resident: set[str] = set()
        self._in_flight: Counter[str] = Counter()

    @property
    def slots(self) -> int:
        """How many adapters can be resident at once."""
        return self._slots

    def _needs_loading(self, version: str, path: Path) -> bool:
        """Whether `version` still has to be loaded from `path`.

        Raises `AdapterLoadError` when its name or path stood for something else, or all slots are
        taken.
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
        """`version` can answer from now on."""
        self._paths[version] = path
        self._resident.add(version)

    def _remove(self, version: str) -> None:
        """`version` can no longer answer."""
        self._resident.discard(version)

    def resident(self) -> frozenset[str]:
        """The adapter versions that can answer now."""
        return frozenset(self._resident)

    def _require(self, version: str) -> None:
        """Raises `RequestRefusedError` (404) for a version that cannot answer."""
        if version != BASE and version not in self._resident:
            message = f"Version {version} is not loaded here."
            raise RequestRefusedError(message, param="model", status=404)

    def in_flight(self, version: str) -> int:
        """Requests of `version` that have not ended."""
        return self._in_flight[version]

    def _enter(self, version: str) -> Callable[[], None]:
        """Count a request in; gives the function that counts it out, once however often called."""
        self._in_flight[version] += 1
        ended = False

        def leave() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._in_flight[version] -= 1
                if not self._in_flight[version]:
                    del self._in_flight[version]

        return leave
