"""What held-out people said, as rows of a snapshot."""

from datetime import UTC, datetime
from typing import Any

from retrain.dataset.held_out_judgements import HeldOutAnswer, JudgedLabel, JudgedPair, Winner

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def answer(text: str, *, version: str = "base") -> HeldOutAnswer:
    return HeldOutAnswer(
        interaction_id=f"chatcmpl-{text}",
        choice=0,
        version=version,
        text=text,
        token_ids=list(range(10, 10 + len(text))),
    )


def _common(rater: str, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"{rater}-{name}",
        "conversation": "c",
        "messages": [{"role": "user", "content": "?"}],
        "prompt_token_ids": [1, 2],
        "rater": rater,
        "source": "HUMAN",
        "received_at": NOON,
        "subject": name,
        **fields,
    }


def judged_pair(
    a: str, b: str, winner: Winner, *, rater: str = "ann", version: str = "base", **fields: Any
) -> JudgedPair:
    values = _common(rater, "|".join(sorted((a, b))), signal="preference", **fields)
    return JudgedPair(**values, a=answer(a, version=version), b=answer(b), winner=winner)


def judged_label(text: str, *, good: bool, rater: str = "ann", **fields: Any) -> JudgedLabel:
    values = _common(rater, text, signal="thumbs", **fields)
    return JudgedLabel(**values, answer=answer(text), good=good, metric="thumbs")
