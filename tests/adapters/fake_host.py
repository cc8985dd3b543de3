"""A fake `AdapterHost` for the registry, with the rules of `server.engine.adapter_slots`."""

from collections import Counter
from pathlib import Path


class FakeHost:
    """Refuses the versions in `refused`; a test sets the requests in flight."""

    def __init__(self, slots: int = 4) -> None:
        self._slots = slots
        self.paths: dict[str, Path] = {}
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.refused: set[str] = set()
        self.flying: Counter[str] = Counter()
        self._resident: set[str] = set()

    @property
    def slots(self) -> int:
        return self._slots

    async def load(self, version: str, path: Path) -> None:
        assert (path / "adapter_model.safetensors").is_file()
        assert self.paths.get(version, path) == path
        assert all(name == version or known != path for name, known in self.paths.items())
        if version in self.refused or len(self._resident) >= self._slots:
            raise RuntimeError("refused")
        self.paths[version] = path
        self.loaded.append(version)
        self._resident.add(version)

    async def unload(self, version: str) -> None:
        self.unloaded.append(version)
        self._resident.discard(version)

    def resident(self) -> frozenset[str]:
        return frozenset(self._resident)

    def in_flight(self, version: str) -> int:
        return self.flying[version]
