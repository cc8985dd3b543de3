"""Finds the adapter that made the engine compute NaN.

An adapter whose numbers overflow leaves NaN in blocks of vLLM's KV cache. Attention reads whole
blocks, so the next request that gets such a block, on any version, gets NaN too. The engine must
then be restarted without the version that caused it.
"""

import asyncio
from collections.abc import Set

from adapters.names import BASE


def blamed(first: str, begun: Set[str], finite: Set[str]) -> frozenset[str]:
    """Return the versions to take out of service.

    A version that never gave a finite answer caused its own NaN. A version that did may have got a
    block from another one, so versions without any finite answer are blamed, if there are any. The
    base model is never blamed.

    Args:
        first: The version whose answer had NaN first.
        begun: Versions that had requests since the engine started.
        finite: Versions that have given a finite answer since then.

    """
    if first != BASE and first not in finite:
        return frozenset({first})
    silent = begun - finite - {BASE}
    return frozenset(silent or {first} - {BASE})


class NanAlarm:
    """Records which versions gave finite answers; raised by the first answer with NaN."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._finite: set[str] = set()
        self._raised = asyncio.Event()
        self._blamed: frozenset[str] = frozenset()

    @property
    def is_raised(self) -> bool:
        """Whether an answer had NaN; no answer can be trusted from then on."""
        return self._raised.is_set()

    def began(self, version: str) -> None:
        """Record that a request of `version` reached the engine."""
        self._begun.add(version)

    def finite(self, version: str) -> None:
        """Record that an answer of `version` has a token sampled from finite logits."""
        self._finite.add(version)

    def not_finite(self, version: str) -> None:
        """Record that an answer of `version` had NaN in its logits, and raise the alarm."""
        if not self._raised.is_set():
            self._blamed = blamed(version, self._begun, self._finite)
            self._raised.set()

    async def wait(self) -> frozenset[str]:
        """Wait until the alarm is raised and return the versions to blame."""
        await self._raised.wait()
        return self._blamed
