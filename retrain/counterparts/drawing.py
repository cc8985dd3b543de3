"""Draw the questions of a snapshot that are asked again, with their recorded requests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrain.config import RetrainConfig
from retrain.counterparts.questions import (
    DrawnLabels,
    QuestionToAsk,
    draw_labels,
    draw_pairs,
    is_chat,
    request_samples,
)
from retrain.dataset.snapshot import read_labels, read_pairs, read_requests
from retrain.trainer.examples.rows import LabelRow, PairRow

Requests = Mapping[str, Mapping[str, Any]]
"""Recorded requests by the ids of their interactions."""


@dataclass(frozen=True, slots=True)
class DrawnQuestions:
    """What is asked again: labels, pairs, and their questions in the order of asking.

    `left_out` and `self_left_out` count labels and pairs that are not asked, by reason.
    """

    labels: Sequence[LabelRow] = ()
    pairs: Sequence[PairRow] = ()
    requests: Requests = field(default_factory=dict)
    questions: Sequence[QuestionToAsk] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    self_left_out: Counter[str] = field(default_factory=Counter)


def drawn_labels(snapshot: Path, config: RetrainConfig) -> DrawnLabels:
    """Draw the labels to find counterparts for. Blocks."""
    labels = read_labels(snapshot)
    return draw_labels(labels, config.counterparts.questions, config.seed)


def drawn_pairs(snapshot: Path, config: RetrainConfig) -> list[PairRow]:
    """Draw the pairs whose questions are asked for self-play. Blocks."""
    if not config.self_play.share:
        return []
    pairs = read_pairs(snapshot)
    limit = config.counterparts.questions
    return draw_pairs(pairs, config.self_play.share, limit, config.seed)


def label_requests(snapshot: Path, labels: Sequence[LabelRow]) -> Requests:
    """Return the recorded requests of the labels' answers. Blocks."""
    wanted = {label.interaction_id for label in labels}
    rows = read_requests(snapshot)
    return {row.interaction_id: row.request for row in rows if row.interaction_id in wanted}


def drawn(
    labels: DrawnLabels, pairs: Sequence[PairRow], requests: Requests, samples: int
) -> DrawnQuestions:
    """Make the questions. Labels and pairs without a recorded chat are counted. Pure."""
    kept = [label for label in labels.labels if is_chat(requests.get(label.interaction_id))]
    played = [pair for pair in pairs if is_chat(requests.get(pair.interaction_id or ""))]
    lost, self_lost = len(labels.labels) - len(kept), len(pairs) - len(played)
    return DrawnQuestions(
        labels=kept,
        pairs=played,
        requests=requests,
        questions=[
            *(_of_label(label, requests[label.interaction_id], samples) for label in kept),
            *(_of_pair(pair, requests[pair.interaction_id or ""]) for pair in played),
        ],
        left_out=+(labels.left_out + Counter[str](no_request=lost)),
        self_left_out=+Counter[str](no_request=self_lost),
    )


def label_question(label: LabelRow) -> str:
    """Return the id of a label's question, and of the pair that it may give."""
    return f"counterpart-{label.id}"


def pair_question(pair: PairRow) -> str:
    """Return the id of the question that self-play asks for a pair, and of the new pair."""
    return f"self_play-{pair.id}"


def _of_label(label: LabelRow, request: Mapping[str, Any], samples: int) -> QuestionToAsk:
    return QuestionToAsk(
        id=label_question(label),
        kind="counterpart",
        interaction_id=label.interaction_id,
        choice=label.choice,
        request=request,
        samples=request_samples(request, samples),
    )


def _of_pair(pair: PairRow, request: Mapping[str, Any]) -> QuestionToAsk:
    return QuestionToAsk(
        id=pair_question(pair),
        kind="self_play",
        interaction_id=pair.interaction_id or "",
        choice=0,
        request=request,
        samples=1,
    )
