"""Who made the engine compute NaN.

An adapter whose numbers overflow leaves NaN in blocks of the KV cache. Attention reads whole
blocks, so whoever gets a freed one next, on any version, gets NaN too: the engine must be started
again, and the version that began it must not be loaded any more.
"""

import asyncio
from collections.abc import Set

from adapters.names import BASE


def blamed(first: str, begun: Set[str], finite: Set[str]) -> frozenset[str]:
    """The versions to take out of service, `first` being the one that gave NaN first.

    `begun` had requests since the engine's start, `finite` have given finite answers since. A
    version that never did is to blame for its own NaN. One that did may have got the block of
    another: of a version whose requests have all ended without an answer, if there is such a one.
    The base model is never to blame.
    """
    if first != BASE and first not in finite:
        return frozenset({first})
    silent = begun - finite - {BASE}
    return frozenset(silent or {first} - {BASE})


class NanAlarm:
    """Told by an engine what its answers were like; raised by the first that is not finite."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._finite: set[str] = set()
        self._raised = asyncio.Event()
        self._blamed: frozenset[str] = frozenset()

    @property
    def is_raised(self) -> bool:
        """Whether an answer was not finite: none is to be trusted from then on."""
        return self._raised.is_set()

    def began(self, version: str) -> None:
        """A request reaches the engine."""
        self._begun.add(version)

    def finite(self, version: str) -> None:
        """An answer of the version has a token that was sampled from finite logits."""
        self._finite.add(version)

    def not_finite(self, version: str) -> None:
        """An answer of the version has NaN in its logits."""
        if not self._raised.is_set():
            self._blamed = blamed(version, self._begun, self._finite)
            self._raised.set()

    async def wait(self) -> frozenset[str]:
        """Return once it is raised, with the versions that are to blame."""
        await self._raised.wait()
        return self._blamed
