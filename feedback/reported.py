"""Checks interactions that applications report, and converts them to records."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from feedback.config import FeedbackConfig
from feedback.errors import InvalidInputError
from feedback.ids import Prefix
from feedback.names import check_length
from feedback.records import ChoiceRecord, InteractionRecord, conversation_hash, thread_hash
from feedback.schemas import InteractionIn
from feedback.storage.write_plan import EXTERNAL
from feedback.validation import check_tags

_SAMPLING = {"temperature", "top_p", "max_tokens", "stop"}


def check_external(interaction: InteractionIn, config: FeedbackConfig) -> None:
    """Raise `InvalidInputError` for violations that the types cannot express."""
    if (interaction.messages is None) == (interaction.prompt is None):
        raise InvalidInputError.of("messages", "send either messages or prompt")
    if interaction.messages is not None:
        _check_messages(interaction.messages)
    if len(interaction.choices) > config.choices_max:
        raise InvalidInputError.of("choices", f"must have at most {config.choices_max} entries")
    for field in ("id", "run_id", "channel", "model", "user", "parent"):
        check_length(field, getattr(interaction, field), config.name_max)
    for index, choice in enumerate(interaction.choices):
        check_length(f"choices.{index}.finish_reason", choice.finish_reason, config.name_max)
    check_tags(interaction.tags, config)


def endpoint_of(interaction: InteractionIn) -> tuple[str, Prefix]:
    """Return the corresponding endpoint and the prefix of its ids."""
    return ("completion", "cmpl") if interaction.messages is None else ("chat", "chatcmpl")


def external_record(
    interaction: InteractionIn,
    *,
    interaction_id: str,
    tenant: str,
    channel: str,
    key_id: str | None,
    received_at: datetime,
) -> InteractionRecord:
    """Return the record of a checked interaction, without a version or token ids."""
    request = _request(interaction)
    return InteractionRecord(
        id=interaction_id,
        received_at=received_at,
        tenant=tenant,
        channel=channel,
        endpoint=endpoint_of(interaction)[0],
        mode=EXTERNAL,
        role="pinned",  # no route chose it
        requested_model=interaction.model,
        model=interaction.model,
        version=None,
        conversation=conversation_hash(tenant, request),
        thread=thread_hash(tenant, key_id, request),
        request=request,
        user=interaction.user,
        key_id=key_id,
        parent=interaction.parent,
        run_id=interaction.run_id,
        choices=[
            ChoiceRecord(index, choice.text, finish_reason=choice.finish_reason)
            for index, choice in enumerate(interaction.choices)
        ],
        status=interaction.status,
        first_token_seconds=interaction.first_token_seconds,
        duration_seconds=interaction.duration_seconds,
    )


def _check_messages(messages: list[dict[str, Any]]) -> None:
    if not messages:
        raise InvalidInputError.of("messages", "must not be empty")
    if not all(isinstance(message.get("role"), str) for message in messages):
        raise InvalidInputError.of("messages", "each message needs a role")


def _request(interaction: InteractionIn) -> Mapping[str, Any]:
    request: dict[str, Any] = {"model": interaction.model}
    if interaction.messages is None:
        request["prompt"] = interaction.prompt
    else:
        request["messages"] = _plain_json("messages", interaction.messages)
    if interaction.tools:
        request["tools"] = _plain_json("tools", interaction.tools)
    request |= interaction.model_dump(include=_SAMPLING, exclude_none=True)
    if interaction.user is not None:
        request["user"] = interaction.user
    if interaction.tags:
        request["metadata"] = interaction.tags
    return request


def _plain_json(field: str, value: Any) -> Any:
    try:
        return orjson.loads(orjson.dumps(value))
    except (TypeError, ValueError):  # a lone surrogate, over 64 bits, nested too deeply
        raise InvalidInputError.of(field, "must be plain JSON in Unicode") from None
