"""The libraries that decide how a model is trained. Importable without torch."""

from importlib.metadata import version

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes")
"""Libraries whose versions are recorded."""


def versions() -> dict[str, str]:
    """Return the installed versions of the libraries."""
    return {library: version(library) for library in LIBRARIES}
