"""A pytest plug-in that keeps the inner loop fast.

Collecting tests imports no library that takes seconds, and a test marked `pure` asks for no
database, event loop or engine.
"""

import sys

import pytest

HEAVY = (
    "bitsandbytes",
    "boto3",
    "datasets",
    "matplotlib",
    "moto",
    "peft",
    "torch",
    "transformers",
    "trl",
    "vllm",
)
"""Libraries that tests import when they run: `tests.lazy_modules.lazy`, or inside the test."""

IMPURE = frozenset({"anyio_backend", "database", "database_url", "postgres", "real_engine"})


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a collection that imported a heavy library, and pure tests that are not pure."""
    loaded = [name for name in HEAVY if name in sys.modules]
    if loaded:
        raise pytest.UsageError(
            f"collecting the tests imported {', '.join(loaded)}: use tests.lazy_modules.lazy"
        )
    for item in session.items:
        impure = IMPURE.intersection(getattr(item, "fixturenames", ()))
        if impure and item.get_closest_marker("pure"):
            raise pytest.UsageError(f"{item.nodeid} is marked pure and asks for {sorted(impure)}")
