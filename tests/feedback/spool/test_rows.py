"""What the spool gives back is what it was given."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.records import ChoiceRecord, FeedbackRecord, InteractionRecord, Subject
from feedback.spool.rows import feedback_record, interaction_record, plain, plain_subjects
from feedback.storage.rows import choice_rows, feedback_row, interaction_row
from tests.feedback.examples import interaction, judgement

pytestmark = pytest.mark.pure

_token_ids = st.lists(st.integers(0, 2**31 - 1), max_size=5)
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
_REFUSED = {"role": "assistant", "content": None, "refusal": "No."}
_choices = st.lists(
    st.builds(
        ChoiceRecord,
        st.just(0),
        _text,
        _token_ids,
        st.sampled_from(["stop", None]),
        st.sampled_from([None, _REFUSED]),
    ),
    max_size=3,
)


@given(
    st.none() | _token_ids,
    _choices,
    _text,
    st.none() | st.floats(0, 1),
    st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  (drawn aware)
)
def test_an_interaction_comes_back_as_it_was(
    prompt: list[int] | None,
    choices: list[ChoiceRecord],
    user: str,
    seconds: float | None,
    moment: datetime,
) -> None:
    record = interaction(
        prompt_token_ids=prompt,
        choices=[
            ChoiceRecord(index, one.text, one.token_ids or (), one.finish_reason, one.message)
            for index, one in enumerate(choices)
        ],
        user=user,
        first_token_seconds=seconds,
        received_at=moment,
    )
    assert interaction_record(interaction_row(record), choice_rows(record)) == record


@given(st.lists(st.builds(Subject, _text, _text, st.integers(0, 9), named=st.booleans())))
def test_feedback_comes_back_as_it_was(subjects: list[Subject]) -> None:
    record = judgement("f", subjects=subjects, tags={"a": "b"}, value={"over": "x", "choice": 1})
    assert feedback_record(feedback_row(record), plain_subjects(record)) == record


@pytest.mark.parametrize(
    "record",
    [judgement("f"), interaction("i"), interaction("i", prompt_token_ids=[2**40])],
    ids=["feedback", "interaction", "interaction that no row can hold"],
)
def test_what_is_kept_aside_is_plain_json(record: FeedbackRecord | InteractionRecord) -> None:
    kept = plain(record)
    assert kept["id"] == record.id
    assert isinstance(kept["received_at"], str)


def test_an_interaction_without_its_texts_keeps_its_numbers() -> None:
    record = interaction(texts=("hello", "bye"), prompt_token_ids=[1, 2, 3])
    record.remove_texts()
    row, choices = interaction_row(record), choice_rows(record)
    assert (row["request"], row["prompt_token_ids"], row["prompt_tokens"]) == ({}, None, 3)
    assert (row["texts_removed_at"], row["completion_tokens"]) == (record.received_at, 4)
    assert [(one["text"], one["token_ids"], one["tokens"]) for one in choices] == [
        ("", None, 2)
    ] * 2
    assert interaction_record(row, choices) == record
