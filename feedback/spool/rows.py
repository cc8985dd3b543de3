"""From rows of the spool back to records, and to the plain JSON of what is kept aside."""

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
"""Columns that records have, too; the others are made of these, or of later."""


def interaction_record(
    row: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]
) -> InteractionRecord:
    """The record that `rows.interaction_row` and `rows.choice_rows` made these of."""
    prompt = row["prompt_token_ids"]
    ids_removed = row["texts_removed_at"] is not None
    return InteractionRecord(
        **{name: row[name] for name in _ASKED},
        prompt_token_ids=None if prompt is None else unpack(prompt),
        prompt_tokens=row["prompt_tokens"] if ids_removed else None,
        choices=[_choice_record(choice, ids_removed=ids_removed) for choice in choices],
    )


def feedback_record(row: Mapping[str, Any], subjects: Sequence[Sequence[Any]]) -> FeedbackRecord:
    """The record that `rows.feedback_row` made this of; `subjects` as `plain_subjects` gives."""
    return FeedbackRecord(
        **{name: row[name] for name in _JUDGED},
        subjects=[
            Subject(field, id_, choice, named=named) for field, id_, choice, named in subjects
        ],
    )


def plain_subjects(record: FeedbackRecord) -> list[list[Any]]:
    """What the table of feedback has no column for, as JSON."""
    return [[one.field, one.id, one.choice, one.named] for one in record.subjects]


def plain(record: InteractionRecord | FeedbackRecord) -> dict[str, Any]:
    """Everything that a record says, as JSON."""
    if isinstance(record, FeedbackRecord):
        row = {**feedback_row(record), "subjects": plain_subjects(record)}
    else:
        try:
            row = {**interaction_row(record), "choices": choice_rows(record)}
        except OverflowError:  # token ids that no row can hold
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
