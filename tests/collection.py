"""A pytest plug-in that keeps the inner loop fast.

It fails if collecting the tests imports a slow library, or if a test marked `pure` requests a
database, an event loop or an engine.
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
"""Libraries that must not be imported during collection: import them with
`tests.lazy_modules.lazy` or inside the test."""

IMPURE = frozenset({"anyio_backend", "database", "database_url", "postgres", "real_engine"})


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail if the collection imported a heavy library or a pure test requests an impure fixture."""
    loaded = [name for name in HEAVY if name in sys.modules]
    if loaded:
        raise pytest.UsageError(
            f"collecting the tests imported {', '.join(loaded)}: use tests.lazy_modules.lazy"
        )
    for item in session.items:
        impure = IMPURE.intersection(getattr(item, "fixturenames", ()))
        if impure and item.get_closest_marker("pure"):
            raise pytest.UsageError(f"{item.nodeid} is marked pure and asks for {sorted(impure)}")
