"""Modules that are imported when a test first uses them: collecting tests must not load torch."""

from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for a module and imports it at the first use of one of its names."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """The module's own attribute; pytest looks for private ones in all that it collects."""
        if attribute.startswith(("_", "pytest")):
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


def lazy(name: str) -> Any:
    """The module `name`, not imported yet. Not for names that decorators or defaults use."""
    return LazyModule(name)
