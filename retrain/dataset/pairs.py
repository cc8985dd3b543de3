"""Build pairs of a better and a worse answer from the judgements of one conversation. Pure.

The result does not depend on the order of the judgements. An answer that was cut off at its length
limit (finish reason `length`) is only used as the worse one, since training towards it would teach
the model to stop mid-sentence.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from feedback.reading.judgements import JudgedConversation
from retrain.config import PairsConfig
from retrain.dataset.filters import Filter
from retrain.dataset.pairwise import PairwiseJudgement, Side, pairwise_judgements
from retrain.trainer.examples.rows import CompletionRow, PairRow, Signal

ID_BYTES = 12
"""Length of a pair's id before hex encoding."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A better and a worse answer to the same conversation.

    `weight` is the net weight of the judgements, in (0, 1]. `since` is the time of the oldest
    answer in the conversation; None if unknown.
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

    def row(self) -> PairRow:
        """Return the pair as a row for the trainer.

        Answers are sampled token ids; only a demonstration is a text, together with how the turn
        was served.
        """
        return PairRow(
            id=self.id,
            prompt_token_ids=list(self.prompt_token_ids),
            chosen=_completion(self.chosen),
            rejected=_completion(self.rejected),
            turn=self.chosen.turn,
            weight=self.weight,
            signal=self.signal,
        )


@dataclass(frozen=True, slots=True)
class PairsResult:
    """The pairs of one conversation, and the number of what was left out, by `Filter`."""

    pairs: list[Pair]
    filtered: Counter[str]


def pairs_of(
    conversation: JudgedConversation, config: PairsConfig, base_fingerprint: str
) -> PairsResult:
    """Convert all judgements of one conversation to pairs.

    Args:
        conversation: The answers and the judgements.
        config: Which judgements count.
        base_fingerprint: Fingerprint of the current base model. Answers of another one are left
            out, since their token ids may have other meanings.

    """
    filtered: Counter[str] = Counter(conversation.left_out)
    judgements = pairwise_judgements(conversation, config, base_fingerprint, filtered)
    usable = _usable(judgements, filtered)
    grouped: dict[frozenset[str], list[PairwiseJudgement]] = {}
    for judgement in usable:
        contents = frozenset((judgement.better.content, judgement.worse.content))
        grouped.setdefault(contents, []).append(judgement)
    resolved = (_resolve(group, filtered) for group in grouped.values())
    pairs = [_pair(conversation, *found) for found in resolved if found is not None]
    return PairsResult(sorted(pairs, key=lambda pair: pair.id), +filtered)


def _usable(
    judgements: Iterable[PairwiseJudgement], filtered: Counter[str]
) -> list[PairwiseJudgement]:
    """Divide the weight of each judgement equally among its usable pairs."""
    kept: list[PairwiseJudgement] = []
    for judgement in judgements:
        reason = _unusable(judgement)
        if reason is None:
            kept.append(judgement)
        else:
            filtered[reason] += 1
    shares = Counter(judgement.origin for judgement in kept)
    return [judgement.with_weight(1 / shares[judgement.origin]) for judgement in kept]


def _unusable(judgement: PairwiseJudgement) -> Filter | None:
    if judgement.better.content == judgement.worse.content:
        return Filter.IDENTICAL
    if judgement.better.truncated:
        return Filter.TRUNCATED
    prompts = {side.prompt_token_ids for side in (judgement.better, judgement.worse)} - {None}
    return Filter.DIFFERENT_PROMPT if len(prompts) > 1 else None


def _resolve(
    group: list[PairwiseJudgement], filtered: Counter[str]
) -> tuple[PairwiseJudgement, float] | None:
    """Merge all comparisons of two texts; the side with more weight wins, by the difference."""
    texts = sorted({judgement.better.content for judgement in group})
    sides = [
        [judgement for judgement in group if judgement.better.content == text] for text in texts
    ]
    sides.sort(key=_weight, reverse=True)
    winners, losers = sides[0], sides[1] if len(sides) > 1 else []
    margin = _weight(winners) - _weight(losers)
    if margin <= _ROUNDING:
        filtered[Filter.CONTRADICTION] += len(group)
        return None
    filtered[Filter.CONTRADICTION] += len(losers)
    filtered[Filter.DUPLICATE] += len(winners) - 1
    return min(winners, key=_precedence), min(1.0, margin)


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


SIGNALS: tuple[Signal, ...] = ("preference", "ranking", "demonstration", "thumbs")
"""All signals, the strongest first."""


def _pair(conversation: JudgedConversation, judgement: PairwiseJudgement, weight: float) -> Pair:
    prompt = judgement.worse.prompt_token_ids or judgement.better.prompt_token_ids or ()
    texts = (judgement.better.content, judgement.worse.content)
    return Pair(
        id=_identifier(conversation.tenant, conversation.conversation, *texts),
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
    )


def _identifier(*parts: str) -> str:
    """Return a hash of the parts; hashing their lengths too keeps different lists apart."""
    digest = blake2b(digest_size=ID_BYTES)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _completion(side: Side) -> CompletionRow:
    if side.token_ids is None:
        return CompletionRow(text=side.text)
    return CompletionRow(token_ids=list(side.token_ids))
