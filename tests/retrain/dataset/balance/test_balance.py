"""A week's rows: topics, languages, near-duplicates and the mix."""

import random
from collections.abc import Iterator

import pytest

from retrain.config.balance import BalanceConfig
from retrain.dataset.balance.balance import Balanced, balance
from retrain.dataset.balance.texts import LONGEST, RowTexts, row_texts

pytestmark = pytest.mark.pure

SUBJECTS = {
    "parking": "where can i park the car near the shop, is there a car park",
    "refund": "my order arrived broken and i want my money back, please refund it",
    "hours": "when does the shop open on sunday and at what time does it close",
    "roses": "how often should i water the red roses that i bought for my garden",
}


def texts(question: str, good: str = "yes", bad: str = "no") -> RowTexts:
    asked = [{"role": "user", "content": question}]
    return row_texts(asked, [("good", good), ("bad", bad)])


def asked(subject: str, number: int) -> RowTexts:
    """A question about the subject, in words and with an answer of its own."""
    words = SUBJECTS[subject].split()
    chosen = random.Random(number).sample(words, k=len(words) - 2)
    mark = f"{number:04}" * 6
    return texts(" ".join(chosen), f"answer {mark}", f"nothing {mark}")


def balanced(rows: list[RowTexts], **settings: float) -> Balanced:
    def read() -> Iterator[tuple[int, RowTexts]]:
        yield from ((at * 7919 % 10_007, row) for at, row in enumerate(rows))

    return balance(read, BalanceConfig(**{"always_kept": 1, **settings}))


def test_a_topic_that_fills_the_week_is_cut_to_its_share() -> None:
    rows = [asked("parking", number) for number in range(150)]
    rows += [asked(subject, number) for number in range(15) for subject in list(SUBJECTS)[1:]]
    result = balanced(rows, topic_share=0.25)
    assert result.mix.before.topics == [150, 15, 15, 15]
    assert result.mix.after.topics == [15, 15, 15, 15]
    assert result.left_out == {"over_share": 135}
    assert len(result.kept) == 60


def test_the_same_rows_give_the_same_choice() -> None:
    rows = [asked(subject, number) for number in range(40) for subject in SUBJECTS]
    first, again = (balanced(rows, topic_share=0.2) for _ in range(2))
    assert first == again


def test_nearly_the_same_texts_count_once() -> None:
    long = " ".join(f"step {number}: {'abcdefghij'[number] * 9}" for number in range(10))
    same = [texts("do you deliver?", long + name, "no idea") for name in ("ann", "bob")]
    result = balanced([*same, asked("roses", 1)])
    assert (result.kept, result.left_out) == ({0, 2}, {"near_duplicate": 1})
    assert balanced([*same, asked("roses", 1)], near_duplicate=0, topic_share=1).kept == {0, 1, 2}


def test_little_data_is_kept_whole() -> None:
    same = [texts("do you deliver?", "yes", "no idea")] * 4
    assert balanced(same, always_kept=4).kept == {0, 1, 2, 3}
    assert balanced(same, always_kept=3).kept == {0}


def test_the_opposite_preference_is_no_near_duplicate() -> None:
    one, other = "we deliver every day except sunday", "go away and ask somebody else"
    rows = [texts("do you deliver?", one, other), texts("do you deliver?", other, one)]
    assert balanced(rows).kept == {0, 1}


def test_languages_are_recognised_and_the_mix_has_no_text() -> None:
    questions = [
        "when does the shop open on sunday, and is there a car park?",
        "wann öffnet der laden am sonntag, und gibt es dort einen parkplatz?",
        "à quelle heure ouvre le magasin dimanche, et y a-t-il un parking?",
        "ok",
    ]
    mix = balanced([texts(question) for question in questions]).mix.before
    assert mix.languages == {"en": 1, "de": 1, "fr": 1, "und": 1}
    assert mix.lengths == {"up to 200": 4}
    assert "sunday" not in mix.model_dump_json()


@pytest.mark.parametrize(
    ("length", "expected"), [(10, "up to 200"), (500, "up to 800"), (9_000, LONGEST)]
)
def test_lengths_are_in_classes(length: int, expected: str) -> None:
    assert texts("hi", "x" * length).length == expected


def test_a_completion_without_messages_has_the_topic_of_its_answer() -> None:
    row = row_texts(None, [("good", "Roses are red.")])
    assert (row.question, row.topic, row.spoken) == ("", "roses are red", "Roses are red.")


def test_texts_come_back_from_their_line() -> None:
    row = asked("roses", 3)
    assert RowTexts.from_json(row.to_json()) == row
    assert b"\n" not in texts("two\nlines\tand a tab").to_json()


def test_no_rows_are_no_error() -> None:
    assert balanced([]) == Balanced(set(), balanced([]).left_out, balanced([]).mix)
    assert balanced([]).left_out == {}


def test_many_small_topics_are_summed_up() -> None:
    rows = [texts(f"{chr(97 + number) * 9} ?", f"answer {number * 7919}") for number in range(24)]
    mix = balanced(rows, near_duplicate=0).mix
    assert (mix.before.topics, mix.before.other_topics) == ([1] * 20, 4)
    assert ("other topics", 4, 4) in mix.rows()
    assert ("topic 1", 1, 1) in mix.rows()
