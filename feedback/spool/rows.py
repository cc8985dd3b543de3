"""Converts rows of the spool back to records, and refused records to plain JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from feedback.records import (
    ChoiceRecord,
    FeedbackRecord,
    InteractionRecord,
    Subject,
    unpack,
)
from feedback.storage.rows import choice_rows, feedback_row, interaction_row

_NO_COLUMNS = {"choices", "prompt_token_ids", "served"}
_ASKED = {field.name for field in fields(InteractionRecord)} - _NO_COLUMNS - {"prompt_tokens"}
_JUDGED = {field.name for field in fields(FeedbackRecord)} - {"subjects"}
"""Columns that are also fields of the records; the others are derived or set later."""


def interaction_record(
    row: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]
) -> InteractionRecord:
    """Invert `storage.rows.interaction_row` and `choice_rows`."""
    prompt = row["prompt_token_ids"]
    ids_removed = row["texts_removed_at"] is not None
    return InteractionRecord(
        **{name: row[name] for name in _ASKED},
        prompt_token_ids=None if prompt is None else unpack(prompt),
        prompt_tokens=row["prompt_tokens"] if ids_removed else None,
        choices=[_choice_record(choice, ids_removed=ids_removed) for choice in choices],
    )


def feedback_record(row: Mapping[str, Any], subjects: Sequence[Sequence[Any]]) -> FeedbackRecord:
    """Invert `storage.rows.feedback_row`; `subjects` are those of `plain_subjects`."""
    return FeedbackRecord(
        **{name: row[name] for name in _JUDGED},
        subjects=[
            Subject(field, id_, choice, named=named) for field, id_, choice, named in subjects
        ],
    )


def plain_subjects(record: FeedbackRecord) -> list[list[Any]]:
    """Return the subjects, for which the feedback table has no column, as JSON."""
    return [[one.field, one.id, one.choice, one.named] for one in record.subjects]


def plain(record: InteractionRecord | FeedbackRecord) -> dict[str, Any]:
    """Return all fields of a record as JSON."""
    if isinstance(record, FeedbackRecord):
        row = {**feedback_row(record), "subjects": plain_subjects(record)}
    else:
        try:
            row = {**interaction_row(record), "choices": choice_rows(record)}
        except OverflowError:  # token ids beyond 32 bits
            row = asdict(record)
    return {name: _json(value) for name, value in row.items()}


def _choice_record(row: Mapping[str, Any], *, ids_removed: bool) -> ChoiceRecord:
    ids = row["token_ids"]
    return ChoiceRecord(
        row["index"],
        row["text"],
        () if ids is None else unpack(ids),
        row["finish_reason"],
        row["message"],
        row["tokens"] if ids_removed else None,
    )


def _json(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _json(one) for key, one in value.items()}
        case list() | tuple():
            return [_json(one) for one in value]
        case bytes():
            return value.hex()
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)
