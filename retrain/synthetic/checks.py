"""Whether a written question is kept: its length, and what it nearly repeats."""

from collections.abc import Iterable
from typing import Literal

from retrain.config import SyntheticConfig
from retrain.dataset.balance.near_duplicates import NearDuplicates
from retrain.dataset.balance.texts import RowTexts
from retrain.dataset.questions import normalise

Flaw = Literal["length", "near_duplicate"]


class QuestionChecks:
    """Checks questions against the settings, and against all that were seen before."""

    def __init__(self, config: SyntheticConfig, known: Iterable[str]) -> None:
        """`known` are texts that no question may repeat: held-out and real ones."""
        self._config = config
        self._seen = NearDuplicates(config.similarity)
        for text in known:
            self.is_new(text)

    def flaw(self, question: str) -> Flaw | None:
        """Return why a question is not kept; None if it is, and then later ones may not repeat it.

        The length is counted in words.
        """
        words = len(question.split())
        if not self._config.shortest <= words <= self._config.longest:
            return "length"
        return None if self.is_new(question) else "near_duplicate"

    def is_new(self, text: str) -> bool:
        """Return whether no similar text was seen; then remember it."""
        return not self._seen.is_one(RowTexts(normalise(text), (), ""))
