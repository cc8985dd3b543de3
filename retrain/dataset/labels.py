"""Answers that were judged by themselves and are part of no pair: good or bad ones. Pure."""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retrain.dataset.filters import Filter
from retrain.dataset.ids import identifier
from retrain.dataset.judged import ConversationView, Side
from retrain.dataset.votes import TextVotes
from retrain.trainer.examples.rows import LabelRow, Signal


@dataclass(frozen=True, slots=True)
class Label:
    """An answer that people or metrics called good or bad, and that is part of no pair.

    `weight` is the net weight of the votes, in (0, 1]. `since` is the time of the oldest answer in
    the conversation. `judgements` are the ids of the votes' judgements.
    """

    id: str
    tenant: str
    conversation: str
    messages: list[dict[str, Any]] | None
    tools: list[dict[str, Any]] | None
    side: Side
    good: bool
    weight: float
    signal: Signal
    since: datetime | None = None
    judgements: frozenset[str] = frozenset()

    def row(self) -> LabelRow:
        """Return the label as a row for the trainer."""
        interaction, choice = self.side.key
        return LabelRow(
            id=self.id,
            interaction_id=interaction,
            choice=choice,
            prompt_token_ids=list(self.side.prompt_token_ids or ()),
            completion=self.side.completion,
            label=self.good,
            weight=self.weight,
            signal=self.signal,
            truncated=self.side.truncated,
        )


def labels_of(
    view: ConversationView, votes: Iterable[TextVotes], paired: Set[str], used: Set[str]
) -> Iterator[Label]:
    """Yield a label for each text whose votes have a majority; others are counted in `view`.

    Args:
        view: The conversation.
        votes: The votes on each text.
        paired: The contents of the answers that are part of a pair.
        used: The ids of the judgements that made those pairs.

    """
    for vote in votes:
        if vote.side.content in paired:
            unused = vote.judgements - used
            view.leave_out(Filter.IN_A_PAIR, unused, count=bool(unused))
        elif reason := _no_label(vote):
            view.leave_out(reason, vote.judgements)
        else:
            yield _label(view, vote)


def _no_label(vote: TextVotes) -> Filter | None:
    """Return why votes make no label.

    A cut-off answer is never called good, since training towards it would teach the model to stop
    mid-sentence.
    """
    if vote.net > 0:
        return Filter.TRUNCATED if vote.side.truncated else None
    if vote.net < 0:
        return None
    values = [opinion.value for opinion in vote.opinions.values()]
    return Filter.TIE if any(values) else Filter.NEUTRAL


def _label(view: ConversationView, vote: TextVotes) -> Label:
    conversation = view.conversation
    names = (conversation.tenant, conversation.conversation, vote.side.content, "label")
    return Label(
        id=identifier(*names),
        tenant=conversation.tenant,
        conversation=conversation.conversation,
        messages=conversation.messages,
        tools=conversation.tools,
        side=vote.side,
        good=vote.net > 0,
        weight=min(1.0, abs(vote.net)),
        signal=vote.signal,
        since=min((answer.received_at for answer in conversation.answers), default=None),
        judgements=vote.judgements,
    )
