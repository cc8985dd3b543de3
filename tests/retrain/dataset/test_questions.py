"""Held-out prompts: what is the same question, and which questions are drawn."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.dataset.questions import HeldOutPrompt, normalise, question_key, select_prompts

pytestmark = pytest.mark.pure


def prompt(number: int, key: str | None = None) -> HeldOutPrompt:
    messages = [{"role": "user", "content": key or f"question {number}"}]
    return HeldOutPrompt(
        interaction_id=f"chatcmpl-{number:04}",
        conversation_hash="",
        text_key=question_key(messages),
        request={"messages": messages},
    )


def test_spelling_case_width_and_punctuation_do_not_make_a_new_question() -> None:
    assert (
        normalise("  When do\nyou OPEN?! ") == normalise("when do you open") == "when do you open"
    )
    assert normalise("\uff2f\uff30\uff25\uff2e") == "open"


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_the_key_is_of_the_users_turns_alone() -> None:
    turns = [{"role": "user", "content": "Open?"}, {"role": "user", "content": "Where?"}]
    between = [{"role": "system", "content": "Be kind."}, turns[0]]
    between += [{"role": "assistant", "content": "Yes."}, turns[1]]
    assert question_key(between) == question_key(turns)
    assert question_key(turns[:1]) != question_key(turns)


def test_text_in_parts_is_the_same_question() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Open?"}]}]
    assert question_key(parts) == question_key([{"role": "user", "content": "open"}])


def test_what_an_ancestor_was_trained_on_is_left_out_and_counted() -> None:
    held_out = [prompt(number) for number in range(10)]
    trained = {held_out[3].text_key, held_out[7].text_key}
    selection = select_prompts(held_out, trained, 100, seed=0)
    assert selection.dropped_trained == 2
    assert selection.available == 8
    assert not trained & {chosen.text_key for chosen in selection.prompts}


def test_each_question_is_asked_once() -> None:
    selection = select_prompts([prompt(n, "same") for n in (5, 2, 9)], set(), 10, seed=0)
    assert [chosen.interaction_id for chosen in selection.prompts] == ["chatcmpl-0002"]
    assert selection.dropped_duplicate == 2


def test_a_request_that_is_no_chat_is_counted_apart() -> None:
    completion = prompt(0).model_copy(update={"request": {"prompt": "Once"}})
    assert select_prompts([completion], set(), 10, seed=0).dropped_unusable == 1


@given(st.lists(st.integers(0, 30)), st.integers(0, 12), st.randoms(use_true_random=False))
def test_the_draw_depends_on_questions_and_seed_alone(
    numbers: list[int], n: int, random: Random
) -> None:
    held_out = [prompt(index, f"question {number}") for index, number in enumerate(numbers)]
    shuffled = list(held_out)
    random.shuffle(shuffled)
    first = select_prompts(held_out, set(), n, seed=1)
    assert select_prompts(shuffled, set(), n, seed=1) == first
    assert len(first.prompts) == min(n, len(set(numbers)))


def test_another_seed_draws_other_questions() -> None:
    held_out = [prompt(number) for number in range(200)]
    draws = [select_prompts(held_out, set(), 20, seed=seed).prompts for seed in (1, 2)]
    assert draws[0] != draws[1]
