"""Who may see which version answered: the one rule of blind comparisons. Pure.

Whoever rates one of two answers must not know the version that gave it. A side of a comparison
therefore tells neither its version nor what shows it (the other side, the role, the times) until
somebody has decided the comparison; every other answer tells all. Answers, headers, metrics,
counts of feedback and `GET /v1/interactions/{id}` ask here and decide nothing themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from feedback.schemas import InteractionOut


@dataclass(frozen=True, slots=True)
class Visibility:
    """What may be told of one answer; `blind` hides the version."""

    blind: bool

    def version(self, version: str | None) -> str | None:
        """The version that answered; None where it is hidden."""
        return None if self.blind else version

    def model(self, channel: str, label: str) -> str:
        """What `model` says: the version's label, or only the channel."""
        return channel if self.blind else label

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers that say who answered and why; none where that is hidden."""
        return {} if self.blind else dict(headers)

    def interaction(self, shown: InteractionOut) -> InteractionOut:
        """The interaction without what tells its version, or which other one belongs to it.

        Times go too: an adapter, or a prompt that is cached for one version only, may show in them.
        """
        if not self.blind:
            return shown
        hidden = ("version", "comparison", "first_token_seconds", "duration_seconds")
        model = self.model(shown.channel, shown.model)
        return shown.model_copy(update={"model": model, **dict.fromkeys(hidden)})


def visibility(comparison: str | None, *, decided: bool = False) -> Visibility:
    """What may be told of an answer that is a side of `comparison`; None: of none.

    `decided` says that somebody has decided it, which stays so. Who cannot know that, or tells it
    for good (an answer's headers, metrics), leaves it out.
    """
    return Visibility(blind=comparison is not None and not decided)
