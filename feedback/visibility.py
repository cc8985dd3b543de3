"""Which answers hide their version: the rule of blind comparisons. Pure.

A rater must not know which version gave which of two answers. Until a comparison is decided, its
sides hide their version and everything that reveals it (the other side, the role, the times). All
other answers are visible. Answers, headers, metrics, counts of feedback and
`GET /v1/interactions/{id}` all apply this rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from feedback.schemas import InteractionOut


@dataclass(frozen=True, slots=True)
class Visibility:
    """What to show of one answer; `blind` hides the version."""

    blind: bool

    def version(self, version: str | None) -> str | None:
        """Return the version that answered, or None if it is hidden."""
        return None if self.blind else version

    def model(self, channel: str, label: str) -> str:
        """Return the value of `model`: the version's label, or only the channel if it is hidden."""
        return channel if self.blind else label

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that show the version and its role; none if they are hidden."""
        return {} if self.blind else dict(headers)

    def interaction(self, shown: InteractionOut) -> InteractionOut:
        """Return the interaction without its version and the id of the comparison, if hidden.

        Times are removed too: an adapter, or a prompt cached for one version only, may affect them.
        """
        if not self.blind:
            return shown
        hidden = ("version", "comparison", "first_token_seconds", "duration_seconds")
        model = self.model(shown.channel, shown.model)
        return shown.model_copy(update={"model": model, **dict.fromkeys(hidden)})


def visibility(comparison: str | None, *, decided: bool = False) -> Visibility:
    """Return what to show of an answer that is a side of `comparison` (None for other answers).

    `decided` is whether the comparison has been decided, which is final. Leave it false where that
    is unknown, or where the output cannot be changed later (an answer's headers, metrics).
    """
    return Visibility(blind=comparison is not None and not decided)
