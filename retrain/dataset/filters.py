"""Why a judgement or a pair is not trained on: each filter has a name, each drop is counted."""

from dataclasses import dataclass
from enum import StrEnum

from feedback.reading.judgements import Standing

WORDS_PER_CONVERSATION = 500
"""Of one conversation; what it brings is held in memory at once."""


class Filter(StrEnum):
    """A reason to leave something out.

    The first group counts judgements, the second pairs (or what would have been one).
    """

    SUPERSEDED = "superseded"
    """Its rater said something else later."""
    TAKEN_BACK = "taken_back"
    """Its rater took it back."""
    OVER_QUOTA = "over_quota"
    """Beyond its rater's events of the week."""
    OVERCROWDED = "overcrowded"
    """Beyond what one conversation may bring."""
    SOURCE = "source"
    """From a source that the settings leave out."""
    HELD_OUT = "held_out"
    """Asked or rated by a held-out user."""
    MISSING = "missing"
    """Names an answer that the log does not have in this conversation."""
    INCOMPLETE = "incomplete"
    """Of an answer that was aborted or failed."""
    FOREIGN = "foreign"
    """Of an answer of another model than the base served now, or one without token ids."""
    TEXTS_REMOVED = "texts_removed"
    """Of an answer, or a demonstration, whose text was removed for its age."""
    EMPTY = "empty"
    """Of an answer, or with a demonstration, without text."""
    TIE = "tie"
    """As many thumbs up as down."""
    UNPAIRED = "unpaired"
    """A thumb or a rating with no counterpart to compare it with."""

    IDENTICAL = "identical"
    """Chosen and rejected are the same text."""
    TRUNCATED = "truncated"
    """The chosen answer was cut off at its length limit."""
    DIFFERENT_PROMPT = "different_prompt"
    """The two answers were sampled from different prompt token ids."""
    DUPLICATE = "duplicate"
    """Says what another pair says; their weights are added."""
    CONTRADICTION = "contradiction"
    """Outweighed by the opposite, or as heavy as it (then both go)."""
    WEIGHTLESS = "weightless"
    """Its weight is 0."""
    TOO_LONG = "too_long"
    """Prompt and longer answer have more than `hyper.max_length` tokens."""
    OVER_MAXIMUM = "over_maximum"
    """Not drawn: there were more pairs than `max_pairs`."""


@dataclass(frozen=True, slots=True)
class RaterRules:
    """Which of the raters' words count: the last on each thing, and so many a week and a question.

    A rater's earliest `events_per_rater` words of an ISO week count, and of one conversation the
    earliest `words_per_conversation`. Words that were replaced or taken back use up neither.
    """

    events_per_rater: int
    words_per_conversation: int = WORDS_PER_CONVERSATION

    def excluded(self, standing: Standing) -> Filter | None:
        """Why the word does not count; None: it does."""
        if standing.later_words:
            return Filter.SUPERSEDED
        if standing.taken_back:
            return Filter.TAKEN_BACK
        if standing.place_in_week > self.events_per_rater:
            return Filter.OVER_QUOTA
        if standing.place_in_conversation > self.words_per_conversation:
            return Filter.OVERCROWDED
        return None
