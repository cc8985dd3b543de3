"""Converts records to rows: plain dicts for SQLAlchemy Core inserts."""

from collections.abc import Mapping
from typing import Any

from feedback.answer_parts import kept_message, served_messages
from feedback.names import storable, storable_name
from feedback.records import ChoiceRecord, FeedbackRecord, InteractionRecord, pack

Row = dict[str, Any]


def interaction_row(record: InteractionRecord) -> Row:
    """Return the row of `models.Interaction`. Raises OverflowError for token ids beyond 32 bits."""
    prompt = record.prompt_token_ids
    return {
        "id": record.id,
        "received_at": record.received_at,
        "tenant": record.tenant,
        "channel": record.channel,
        "endpoint": record.endpoint,
        "mode": record.mode,
        "role": record.role,
        "requested_model": storable(record.requested_model),
        "model": storable(record.model),
        "version": record.version,
        "base_fingerprint": record.base_fingerprint,
        "user": storable_name(record.user),
        "key_id": record.key_id,
        "parent": record.parent,
        "trial": record.trial,
        "trial_share": record.trial_share,
        "comparison": record.comparison,
        "run_id": storable_name(record.run_id),
        "conversation": record.conversation,
        "thread": record.thread,
        "request": dict(record.request),
        "prompt_token_ids": None if prompt is None else pack(prompt),
        "prompt_tokens": record.counted_prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "completion_tokens": record.completion_tokens,
        "status": record.status,
        "error": record.error,
        "first_token_seconds": record.first_token_seconds,
        "duration_seconds": record.duration_seconds,
        "texts_removed_at": record.texts_removed_at,
    }


def choice_rows(record: InteractionRecord) -> list[Row]:
    """Return the rows of `models.Choice` of one interaction."""
    messages = served_messages(record.served)
    return [
        _choice_row(record.id, choice, messages.get(choice.index, choice.message))
        for choice in record.choices
    ]


def feedback_row(record: FeedbackRecord) -> Row:
    """Return the row of `models.Feedback`."""
    return {
        "tenant": record.tenant,
        "id": record.id,
        "received_at": record.received_at,
        "interaction_id": record.interaction_id,
        "choice": record.choice,
        "metric_name": record.metric_name,
        "value": record.value,
        "rater": record.rater,
        "source": record.source,
        "rationale": record.rationale,
        "tags": dict(record.tags),
        "key_id": record.key_id,
        "digest": record.digest,
        "retracts": record.retracts,
    }


def _choice_row(
    interaction_id: str, choice: ChoiceRecord, message: Mapping[str, Any] | None
) -> Row:
    return {
        "interaction_id": interaction_id,
        "index": choice.index,
        "text": storable(choice.text),
        "token_ids": pack(choice.token_ids) if choice.token_ids else None,
        "tokens": choice.tokens,
        "finish_reason": choice.finish_reason,
        "message": kept_message(message, choice.text),
    }
