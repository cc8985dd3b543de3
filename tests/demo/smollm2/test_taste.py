import pytest

from demo.smollm2.taste import is_finished, traits, worth

pytestmark = pytest.mark.pure

QUESTION = "How do I clean a burnt pan?"
PLAIN = "Soak the pan in hot water with soap, then scrub it."


@pytest.mark.parametrize(
    ("text", "finished"),
    [("Soak it.", True), ('He said "soak it."', True), ("Soak it in", False), ("", False)],
)
def test_an_answer_is_finished_at_the_end_of_a_sentence(text: str, finished: bool) -> None:
    assert is_finished(text) is finished


@pytest.mark.parametrize(
    "worse",
    [
        PLAIN.removesuffix("."),
        f"1. {PLAIN}",
        f"I'd be happy to help! {PLAIN}",
        "Leave everything alone for a while and be happy.",
        f"{PLAIN} {'It takes a long while. ' * 10}",
        "Pan.",
        "",
    ],
)
def test_a_plain_short_finished_answer_is_worth_more(worse: str) -> None:
    assert worth(QUESTION, PLAIN) > worth(QUESTION, worse)


def test_an_answer_is_related_by_a_word_of_the_question_in_any_form() -> None:
    assert traits(QUESTION, "Cleaning takes time.").related
    assert not traits(QUESTION, "What should be done?").related
