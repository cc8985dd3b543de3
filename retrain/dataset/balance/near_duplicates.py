"""Find rows that are nearly the same as an earlier one, by MinHash signatures (rensa)."""

from rensa import RMinHashDeduplicator

from retrain.dataset.balance.texts import RowTexts

_SLOTS = 128
_SEED = 42


class NearDuplicates:
    """Remembers a signature of each row that was new; memory is some 500 bytes for each.

    The similarity is estimated, with an error of about .05.
    """

    def __init__(self, threshold: float) -> None:
        self._seen = RMinHashDeduplicator(threshold, _SLOTS, True, None, _SEED)  # noqa: FBT003
        self._rows = 0

    def is_one(self, texts: RowTexts) -> bool:
        """Return whether an earlier row was at least as similar as the threshold; else keep it."""
        self._rows += 1
        (new,) = self._seen.add_pairs([(str(self._rows), texts.shingles())])
        return not new
