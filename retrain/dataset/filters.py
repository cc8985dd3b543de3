"""Reasons for which a judgement or pair is left out. Each is counted under its name."""

from dataclasses import dataclass
from enum import StrEnum

from feedback.reading.judgements import Standing

JUDGEMENTS_PER_CONVERSATION = 500
"""Judgements of one conversation that are used, at most, since they are held in memory together."""


class Filter(StrEnum):
    """A reason to leave something out.

    The first group counts judgements, the second group pairs (and labels, where it says so), the
    third what users did without a button (`retrain.signals`).
    """

    SUPERSEDED = "superseded"
    """The same rater replaced it by a later judgement."""
    TAKEN_BACK = "taken_back"
    """The rater withdrew it."""
    OVER_QUOTA = "over_quota"
    """The rater has more than `events_per_rater` judgements in the week."""
    OVERCROWDED = "overcrowded"
    """The conversation has more than `JUDGEMENTS_PER_CONVERSATION` judgements."""
    SOURCE = "source"
    """The source is excluded by `retrain.pairs.sources`."""
    HELD_OUT = "held_out"
    """The rater or the asking user is held out."""
    MISSING = "missing"
    """It names an answer that is not in the log of the conversation."""
    INCOMPLETE = "incomplete"
    """The judged answer was aborted or failed."""
    FOREIGN = "foreign"
    """The judged answer was sampled by another base model, or has no token ids."""
    TEXTS_REMOVED = "texts_removed"
    """The text of the answer or demonstration was removed because of its age."""
    EMPTY = "empty"
    """The answer or demonstration has no text."""
    TIE = "tie"
    """The answer has as many votes for it as against it."""
    NEUTRAL = "neutral"
    """The ratings or metrics call the answer neither good nor bad."""
    IN_A_PAIR = "in_a_pair"
    """The answer is part of a pair that other judgements made."""

    EQUAL = "equal"
    """The rater called both answers equally good."""
    IDENTICAL = "identical"
    """Both answers have the same text."""
    TRUNCATED = "truncated"
    """The better answer, or the one called good, was cut off at its length limit."""
    DIFFERENT_PROMPT = "different_prompt"
    """The two answers were sampled from different prompt token ids."""
    DUPLICATE = "duplicate"
    """Another pair has the same texts; the weights are added."""
    CONTRADICTION = "contradiction"
    """The opposite preference has more weight, or the same; then both are left out."""
    WEIGHTLESS = "weightless"
    """The weight is 0."""
    TOO_LONG = "too_long"
    """The prompt and the longer answer have more than `hyper.max_length` tokens."""
    OVER_MAXIMUM = "over_maximum"
    """There are more than `max_pairs` pairs or `max_labels` labels: this one was not sampled."""
    NEAR_DUPLICATE = "near_duplicate"
    """Another pair or label has nearly the same texts (`retrain.balance.near_duplicate`)."""
    OVER_SHARE = "over_share"
    """Its topic, language or length fills its share without it (`retrain.balance`)."""

    EXPLICIT = "explicit"
    """A person judged the answer explicitly, which outweighs what the user did next."""
    ANONYMOUS = "anonymous"
    """A first question was asked again, but its users are not named, so it may be another user."""
    CONCURRENT = "concurrent"
    """The question was asked again before its first answer was complete."""
    SEVERAL_ANSWERS = "several_answers"
    """The question was asked again, but a request had several answers (`n`)."""
    WENT_ON = "went_on"
    """The question was asked again, but the conversation goes on from its first answer."""
    EDITED = "edited"
    """The next message follows an answer that the client has changed."""
    UNMATCHED = "unmatched"
    """The next message follows no known answer: earlier messages or tools were changed."""
    FURTHER_MESSAGE = "further_message"
    """The user wrote several messages after the same answer; only the first is read."""
    UNREAD = "unread"
    """The next message was not read, because of `retrain.signals.messages` or `seconds`."""
    READER_FAILED = "reader_failed"
    """The reader gave no verdict on the next message."""
    NEUTRAL_MESSAGE = "neutral_message"
    """The next message says nothing about the answer."""


@dataclass(frozen=True, slots=True)
class RaterRules:
    """Which judgements count.

    Of judgements by one rater on the same subject, the last counts. The earliest `events_per_rater`
    of a rater in an ISO week count, and the earliest `judgements_per_conversation` of a
    conversation. Replaced and withdrawn judgements do not count towards these limits.
    """

    events_per_rater: int
    judgements_per_conversation: int = JUDGEMENTS_PER_CONVERSATION

    def excluded(self, standing: Standing) -> Filter | None:
        """Return why a judgement does not count, or None if it does."""
        if standing.later_judgements:
            return Filter.SUPERSEDED
        if standing.taken_back:
            return Filter.TAKEN_BACK
        if standing.place_in_week > self.events_per_rater:
            return Filter.OVER_QUOTA
        if standing.place_in_conversation > self.judgements_per_conversation:
            return Filter.OVERCROWDED
        return None
