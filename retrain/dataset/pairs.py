"""Build pairs of a better and a worse answer from the judgements of one conversation. Pure.

The result does not depend on the order of the judgements. An answer that was cut off at its length
limit (finish reason `length`) is only used as the worse one, since training towards it would teach
the model to stop mid-sentence.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from feedback.config import MetricConfig
from feedback.reading.judgements import JudgedConversation
from retrain.config import PairsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.held_out_judgements import HeldOutJudgement, held_out_judgements
from retrain.dataset.ids import identifier
from retrain.dataset.judged import ConversationView, Key, Side
from retrain.dataset.labels import Label, labels_of
from retrain.dataset.pairwise import PairwiseJudgement, latest_comparisons, pairwise_judgements
from retrain.dataset.votes import count_votes
from retrain.signal_figures import SignalFigures
from retrain.trainer.examples.rows import PairRow, Signal

NO_METRICS: Mapping[str, MetricConfig] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Pair:
    """A better and a worse answer to the same conversation.

    `weight` is the net weight of the judgements, in (0, 1]. `since` is the time of the oldest
    answer in the conversation; None if unknown. `judgements` are the ids of the judgements that say
    so.
    """

    id: str
    tenant: str
    conversation: str
    messages: list[dict[str, Any]] | None
    tools: list[dict[str, Any]] | None
    prompt_token_ids: tuple[int, ...]
    chosen: Side
    rejected: Side
    signal: Signal
    weight: float
    since: datetime | None = None
    judgements: frozenset[str] = frozenset()

    def row(self) -> PairRow:
        """Return the pair as a row for the trainer.

        Answers are sampled token ids; only a demonstration is a text, together with how the turn
        was served.
        """
        return PairRow(
            id=self.id,
            prompt_token_ids=list(self.prompt_token_ids),
            chosen=self.chosen.completion,
            rejected=self.rejected.completion,
            turn=self.chosen.turn,
            weight=self.weight,
            signal=self.signal,
            interaction_id=self.rejected.key[0],
        )


@dataclass(frozen=True, slots=True)
class PairsResult:
    """What one conversation gives to training.

    Attributes:
        pairs: The pairs, by id.
        filtered: Number of what was left out, by `Filter`.
        labels: The judged answers that are in no pair, by id.
        judgements: Number of judgements by what became of them, each counted once: `pairs`,
            `labels`, or the first `Filter` that applied.
        held_out: What held-out users said, or others about their answers; never trained on.
        since: Time of the oldest answer in the conversation.
        signals: Figures of what users did without a button, once per log; None if not used.

    """

    pairs: list[Pair]
    filtered: Counter[str]
    labels: list[Label] = field(default_factory=list)
    judgements: Counter[str] = field(default_factory=Counter)
    held_out: list[HeldOutJudgement] = field(default_factory=list)
    since: datetime | None = None
    signals: SignalFigures | None = None

    @property
    def paired(self) -> frozenset[Key]:
        """The answers that are in a pair."""
        return frozenset(side.key for pair in self.pairs for side in (pair.chosen, pair.rejected))


def pairs_of(
    conversation: JudgedConversation,
    config: PairsConfig,
    base_fingerprint: str,
    metrics: Mapping[str, MetricConfig] = NO_METRICS,
) -> PairsResult:
    """Convert all judgements of one conversation to pairs, and the rest of them to labels.

    Args:
        conversation: The answers and the judgements.
        config: Which judgements count.
        base_fingerprint: Fingerprint of the current base model. Answers of another one are left
            out, since their token ids may have other meanings.
        metrics: Custom metrics that train, by name.

    """
    filtered = Counter(conversation.left_out)
    view = ConversationView(conversation, config, base_fingerprint, filtered, metrics)
    accepted = latest_comparisons(view, view.accepted())
    votes = count_votes(view, accepted)
    resolved = _resolved(view, pairwise_judgements(view, accepted, votes))
    paired = {side.content for pair in resolved for side in (pair.chosen, pair.rejected)}
    used = {judgement for pair in resolved for judgement in pair.judgements}
    labels = sorted(labels_of(view, votes, paired, used), key=lambda label: label.id)
    outcomes = _outcomes(view, used, labels)
    pairs = sorted(resolved, key=lambda pair: pair.id)
    return PairsResult(
        pairs=pairs,
        filtered=+view.filtered,
        labels=labels,
        judgements=outcomes,
        held_out=list(held_out_judgements(view)),
        since=min((answer.received_at for answer in conversation.answers), default=None),
    )


def _resolved(view: ConversationView, judgements: Iterable[PairwiseJudgement]) -> list[Pair]:
    """Return the pairs: one for each two texts on which the judgements do not cancel out."""
    grouped: dict[frozenset[str], list[PairwiseJudgement]] = {}
    for judgement in _usable(view, judgements):
        contents = frozenset((judgement.better.content, judgement.worse.content))
        grouped.setdefault(contents, []).append(judgement)
    found = (_resolve(view, group) for group in grouped.values())
    return [pair for pair in found if pair is not None]


def _outcomes(view: ConversationView, paired: Set[str], labels: Iterable[Label]) -> Counter[str]:
    """Count each judgement once, by what became of it."""
    outcomes: Counter[str] = Counter(view.conversation.left_out)
    labelled = frozenset[str]().union(*(label.judgements for label in labels))
    for judgement in view.conversation.judgements:
        if judgement.id in paired:
            outcomes["pairs"] += 1
        elif judgement.id in labelled:
            outcomes["labels"] += 1
        else:
            outcomes[view.reasons[judgement.id]] += 1
    return +outcomes


def _usable(
    view: ConversationView, judgements: Iterable[PairwiseJudgement]
) -> list[PairwiseJudgement]:
    """Divide the weight of each judgement equally among its usable pairs."""
    kept: list[PairwiseJudgement] = []
    for judgement in judgements:
        reason = _unusable(judgement)
        if reason is None:
            kept.append(judgement)
        else:
            view.leave_out(reason, judgement.judgements)
    shares = Counter(judgement.origin for judgement in kept)
    return [judgement.with_share(1 / shares[judgement.origin]) for judgement in kept]


def _unusable(judgement: PairwiseJudgement) -> Filter | None:
    if judgement.better.content == judgement.worse.content:
        return Filter.IDENTICAL
    if judgement.better.truncated:
        return Filter.TRUNCATED
    prompts = {side.prompt_token_ids for side in (judgement.better, judgement.worse)} - {None}
    return Filter.DIFFERENT_PROMPT if len(prompts) > 1 else None


def _resolve(view: ConversationView, group: list[PairwiseJudgement]) -> Pair | None:
    """Merge all comparisons of two texts; the side with more weight wins, by the difference."""
    texts = sorted({judgement.better.content for judgement in group})
    sides = [
        [judgement for judgement in group if judgement.better.content == text] for text in texts
    ]
    sides.sort(key=_weight, reverse=True)
    winners, losers = sides[0], sides[1] if len(sides) > 1 else []
    margin = _weight(winners) - _weight(losers)
    if margin <= _ROUNDING:
        view.leave_out(Filter.CONTRADICTION, _judgements(group), len(group))
        return None
    view.leave_out(Filter.CONTRADICTION, _judgements(losers), len(losers))
    view.filtered[Filter.DUPLICATE] += len(winners) - 1
    best = min(winners, key=_precedence)
    return _pair(view.conversation, best, min(1.0, margin), _judgements(winners))


def _judgements(group: Iterable[PairwiseJudgement]) -> frozenset[str]:
    return frozenset[str]().union(*(judgement.judgements for judgement in group))


_ROUNDING = 1e-9
"""Differences in weight up to this are attributed to rounding."""


def _weight(judgements: Iterable[PairwiseJudgement]) -> float:
    return sum(sorted(judgement.weight for judgement in judgements))


def _precedence(judgement: PairwiseJudgement) -> tuple[Any, ...]:
    """Return the sort key by which the representative of a merged pair is chosen.

    Sampled answers come before demonstrations, then stronger signals, then a fixed order.
    """
    return (
        judgement.better.token_ids is None,
        SIGNALS.index(judgement.signal),
        judgement.origin,
        judgement.better.key,
        judgement.worse.key,
    )


SIGNALS: tuple[Signal, ...] = ("preference", "ranking", "demonstration", "thumbs", "metric")
"""The signals of pairs, the strongest first."""


def _pair(
    conversation: JudgedConversation,
    judgement: PairwiseJudgement,
    weight: float,
    judgements: frozenset[str],
) -> Pair:
    prompt = judgement.worse.prompt_token_ids or judgement.better.prompt_token_ids or ()
    texts = (judgement.better.content, judgement.worse.content)
    return Pair(
        id=identifier(conversation.tenant, conversation.conversation, *texts),
        tenant=conversation.tenant,
        conversation=conversation.conversation,
        messages=conversation.messages,
        tools=conversation.tools,
        prompt_token_ids=prompt,
        chosen=judgement.better,
        rejected=judgement.worse,
        signal=judgement.signal,
        weight=weight,
        since=min((answer.received_at for answer in conversation.answers), default=None),
        judgements=judgements,
    )
