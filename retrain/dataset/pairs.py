"""From judgements of one conversation to pairs of a better and a worse answer. Pure.

Whatever order the judgements come in, the pairs are the same, in the same order, with the same ids.
Chosen answers are whole; an answer that was cut off at its length limit (finish reason `length`)
may only be the worse one: training towards it would teach the model to stop in mid-sentence.
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
from retrain.dataset.pairwise import PairwiseJudgement, Side, opinions_of
from retrain.trainer.examples.rows import CompletionRow, PairRow, Signal

ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one conversation. `weight` is the net weight of what was said, at most 1.

    `since`: nothing of the conversation's texts is older; None where that is not known.
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
        """The pair as the trainer reads it: sampled token ids, text only where nobody sampled it.

        How the turn was served goes along only where a text is to be written into it.
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
    """The pairs of one conversation, and what was left out, by `Filter`."""

    pairs: list[Pair]
    filtered: Counter[str]


def pairs_of(
    conversation: JudgedConversation, config: PairsConfig, base_fingerprint: str
) -> PairsResult:
    """Turn everything that was said about one conversation into pairs.

    Args:
        conversation: The answers and the judgements.
        config: Which judgements count.
        base_fingerprint: The base model that is served now; the token ids that another sampled
            mean nothing to it.

    """
    filtered: Counter[str] = Counter(conversation.left_out)
    opinions = opinions_of(conversation, config, base_fingerprint, filtered)
    usable = _usable(opinions, filtered)
    grouped: dict[frozenset[str], list[PairwiseJudgement]] = {}
    for opinion in usable:
        contents = frozenset((opinion.better.content, opinion.worse.content))
        grouped.setdefault(contents, []).append(opinion)
    resolved = (_resolve(group, filtered) for group in grouped.values())
    pairs = [_pair(conversation, *found) for found in resolved if found is not None]
    return PairsResult(sorted(pairs, key=lambda pair: pair.id), +filtered)


def _usable(
    opinions: Iterable[PairwiseJudgement], filtered: Counter[str]
) -> list[PairwiseJudgement]:
    """Share each saying's weight over the pairs of it that can be trained on."""
    kept: list[PairwiseJudgement] = []
    for opinion in opinions:
        reason = _unusable(opinion)
        if reason is None:
            kept.append(opinion)
        else:
            filtered[reason] += 1
    shares = Counter(opinion.origin for opinion in kept)
    return [opinion.weighing(1 / shares[opinion.origin]) for opinion in kept]


def _unusable(opinion: PairwiseJudgement) -> Filter | None:
    if opinion.better.content == opinion.worse.content:
        return Filter.IDENTICAL
    if opinion.better.truncated:
        return Filter.TRUNCATED
    prompts = {side.prompt_token_ids for side in (opinion.better, opinion.worse)} - {None}
    return Filter.DIFFERENT_PROMPT if len(prompts) > 1 else None


def _resolve(
    group: list[PairwiseJudgement], filtered: Counter[str]
) -> tuple[PairwiseJudgement, float] | None:
    """Weigh the opinions on two texts against each other; the heavier side wins by its margin."""
    texts = sorted({opinion.better.content for opinion in group})
    sides = [[opinion for opinion in group if opinion.better.content == text] for text in texts]
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


def _weight(opinions: Iterable[PairwiseJudgement]) -> float:
    return sum(sorted(opinion.weight for opinion in opinions))


def _precedence(opinion: PairwiseJudgement) -> tuple[Any, ...]:
    """Whose token ids and signal a merged pair carries.

    Sampled before rendered, then the stronger signal, then a fixed order.
    """
    return (
        opinion.better.token_ids is None,
        SIGNALS.index(opinion.signal),
        opinion.origin,
        opinion.better.key,
        opinion.worse.key,
    )


SIGNALS: tuple[Signal, ...] = ("preference", "ranking", "demonstration", "thumbs")


def _pair(conversation: JudgedConversation, opinion: PairwiseJudgement, weight: float) -> Pair:
    prompt = opinion.worse.prompt_token_ids or opinion.better.prompt_token_ids or ()
    texts = (opinion.better.content, opinion.worse.content)
    return Pair(
        id=_identifier(conversation.tenant, conversation.conversation, *texts),
        tenant=conversation.tenant,
        conversation=conversation.conversation,
        messages=conversation.messages,
        tools=conversation.tools,
        prompt_token_ids=prompt,
        chosen=opinion.better,
        rejected=opinion.worse,
        signal=opinion.signal,
        weight=weight,
        since=min((answer.received_at for answer in conversation.answers), default=None),
    )


def _identifier(*parts: str) -> str:
    """A stable name. Lengths go in, so that no two lists of parts give the same bytes."""
    digest = blake2b(digest_size=ID_BYTES)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _completion(side: Side) -> CompletionRow:
    if side.token_ids is None:
        return CompletionRow(text=side.text)
    return CompletionRow(token_ids=list(side.token_ids))
