"""Modules that are imported at their first use, since collecting tests must not import torch."""

from importlib import import_module
from typing import Any


class LazyModule:
    """Imports its module at the first use of one of its names."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """Return the module's attribute; refuse the private names that pytest looks up."""
        if attribute.startswith(("_", "pytest")):
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


def lazy(name: str) -> Any:
    """Return the module `name`, not imported yet. Not for use in decorators or default values."""
    return LazyModule(name)
