"""Decide what a user's behaviour after an answer says of it. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal, Self

from feedback.reading.follow_up_log import FollowedConversation
from feedback.reading.follow_ups import AnsweredRequest, FollowUp
from feedback.reading.judgements import LoggedAnswer
from feedback.reading.next_messages import same_answer
from retrain.config import RetrainConfig
from retrain.dataset.filters import Filter
from retrain.dataset.held_out import held_out
from retrain.dataset.judged import Key, flaw_of

Kind = Literal["repeated", "next_message"]


@dataclass(frozen=True, slots=True)
class SignRules:
    """Which signs count.

    Attributes:
        since: Signs after this time count; earlier ones were used by an earlier run.
        events_per_rater: What a user did after answers, per ISO week, that counts; the rest is left
            out.
        held_out_share: Share of users that is held out.
        base_fingerprint: Answers of another base model are left out.
        repeated: Whether repeated questions count.
        next_messages: Whether next messages count.

    """

    since: datetime | None
    events_per_rater: int
    held_out_share: float
    base_fingerprint: str
    repeated: bool
    next_messages: bool

    @classmethod
    def of(cls, config: RetrainConfig, since: datetime | None, base_fingerprint: str) -> Self:
        """Return the rules that the settings state."""
        return cls(
            since=since,
            events_per_rater=config.pairs.events_per_rater,
            held_out_share=config.pairs.held_out_share,
            base_fingerprint=base_fingerprint,
            repeated=config.signals.repeated > 0,
            next_messages=config.signals.next_message > 0,
        )


@dataclass(frozen=True, slots=True)
class Sign:
    """What a user did after an answer.

    `value` is -1 (against the answer) or 1 (for it); None if `message`, which the user wrote next,
    must be read first. `by` is the id of the request that shows it.
    """

    answer: LoggedAnswer
    kind: Kind
    by: str
    value: float | None
    message: str = ""

    @property
    def key(self) -> Key:
        """The answer's interaction id and choice."""
        return (self.answer.interaction_id, self.answer.choice)


def signs_of(
    followed: FollowedConversation, rules: SignRules, left_out: Counter[str]
) -> list[Sign]:
    """Return the signs that count; others are counted in `left_out` by `Filter`."""
    view = _View(followed, rules, left_out)
    found: list[Sign] = []
    if rules.repeated:
        found += view.repeats()
    if rules.next_messages:
        found += view.next_messages()
    return [sign for sign in found if view.counts(sign)]


@dataclass(slots=True)
class _View:
    """One followed conversation under the rules."""

    followed: FollowedConversation
    rules: SignRules
    left_out: Counter[str]

    def repeats(self) -> Iterator[Sign]:
        """Yield signs against an answer whose question was asked again, and for the last answer.

        The last answer is good if the conversation goes on from it.
        """
        attempts = self.followed.tracked.attempts
        for first, again in pairwise(attempts):
            if not self._is_new(again.received_at):
                continue
            reason = self._no_repeat(first, again)
            if reason is not None:
                self.left_out[reason] += 1
                continue
            yield Sign(self._answers(first)[0], "repeated", again.id, -1.0)
            answer = self._answers(again)[0]
            if self._went_on(answer):
                yield Sign(answer, "repeated", again.id, 1.0)

    def next_messages(self) -> Iterator[Sign]:
        """Yield the first message that the user wrote after each answer."""
        read: set[Key] = set()
        for follow_up in self.followed.tracked.follow_ups:
            if not self._is_new(follow_up.received_at):
                continue
            found = self._answer_before(follow_up)
            reason = self._no_message(follow_up, found, read)
            if found is None or reason is not None:
                self.left_out[str(reason)] += 1
                continue
            sign = Sign(
                found, "next_message", follow_up.interaction_id, None, follow_up.message.text
            )
            read.add(sign.key)
            yield sign

    def counts(self, sign: Sign) -> bool:
        """Whether the answer may be trained on and no person judged it explicitly."""
        explicit = sign.key in self.followed.judged
        reason = Filter.EXPLICIT if explicit else flaw_of(sign.answer, self.rules.base_fingerprint)
        if reason is not None:
            self.left_out[reason] += 1
        return reason is None

    def _no_repeat(self, first: AnsweredRequest, again: AnsweredRequest) -> Filter | None:
        answers, others = self._answers(first), self._answers(again)
        reason = self._not_allowed(self.followed.tracked.repeats.get(again.id))
        if reason is not None:
            return reason
        if self.followed.anonymous and not self.followed.tracked.turned:
            return Filter.ANONYMOUS
        if again.received_at < first.finished_at:
            return Filter.CONCURRENT
        if len(answers) != 1 or len(others) != 1:
            return Filter.SEVERAL_ANSWERS
        if same_answer(answers[0].parts, others[0].parts):
            return Filter.IDENTICAL
        return Filter.WENT_ON if self._went_on(answers[0]) else None

    def _no_message(
        self, follow_up: FollowUp, answer: LoggedAnswer | None, read: set[Key]
    ) -> Filter | None:
        reason = self._not_allowed(follow_up.place_in_week)
        if reason is not None:
            return reason
        if answer is None:
            return Filter.EDITED
        if (answer.interaction_id, answer.choice) in read:
            return Filter.FURTHER_MESSAGE
        return None if follow_up.message.text.strip() else Filter.EMPTY

    def _not_allowed(self, place_in_week: int | None) -> Filter | None:
        """Return why nothing that this user did counts, or not this."""
        tenant, user = self.followed.tenant, self.followed.requester
        if held_out(tenant, user, self.rules.held_out_share):
            return Filter.HELD_OUT
        if place_in_week is None:
            return Filter.OVERCROWDED
        return Filter.OVER_QUOTA if place_in_week > self.rules.events_per_rater else None

    def _is_new(self, moment: datetime) -> bool:
        return self.rules.since is None or moment > self.rules.since

    def _answers(self, asked: AnsweredRequest) -> Sequence[LoggedAnswer]:
        return [one for one in self.followed.answers if one.interaction_id == asked.id]

    def _went_on(self, answer: LoggedAnswer) -> bool:
        """Whether the conversation goes on from this answer."""
        follow_ups = self.followed.tracked.follow_ups
        return any(same_answer(one.message.answer, answer.parts) for one in follow_ups)

    def _answer_before(self, follow_up: FollowUp) -> LoggedAnswer | None:
        """Return the latest answer that the follow-up contains as it was served."""
        same = [
            answer
            for answer in self.followed.answers
            if answer.received_at < follow_up.received_at
            and same_answer(follow_up.message.answer, answer.parts)
        ]
        return max(same, key=lambda answer: (answer.received_at, -answer.choice), default=None)
