"""KTO's order of examples, and its mismatched answers."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.trainer.errors import JobError
from retrain.trainer.examples.labels import LabelExample
from retrain.trainer.methods.mismatched import KtoExample, mixed_order, with_mismatched

pytestmark = pytest.mark.pure

LABELS = st.lists(st.booleans(), min_size=1, max_size=60)
SEEDS = st.integers(0, 2**32 - 1)
KINDS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40)
"""A prompt and a label each."""


def examples(kinds: list[tuple[int, bool]]) -> list[LabelExample]:
    return [
        LabelExample(prompt_ids=[prompt], completion_ids=[100 + at], label=label, weight=1.0)
        for at, (prompt, label) in enumerate(kinds)
    ]


def made(kinds: list[tuple[int, bool]], batch: int, seed: int = 0) -> list[KtoExample]:
    return with_mismatched(examples(kinds), batch, seed)


def own_prompt(kinds: list[tuple[int, bool]], answer: list[int]) -> int:
    return kinds[answer[0] - 100][0]


@given(labels=LABELS, seed=SEEDS)
def test_the_order_is_a_permutation_that_the_seed_decides(labels: list[bool], seed: int) -> None:
    order = mixed_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    assert order == mixed_order(labels, seed)


@given(good=st.integers(1, 40), bad=st.integers(1, 40), seed=SEEDS)
def test_good_and_bad_answers_are_spread_evenly(good: int, bad: int, seed: int) -> None:
    labels = [True] * good + [False] * bad
    order = mixed_order(labels, seed)
    for end in range(1, len(order) + 1):
        share = sum(labels[index] for index in order[:end]) / good
        assert abs(share - (end - share * good) / bad) <= 1 / good + 1 / bad


@given(kinds=KINDS, batch=st.integers(2, 16), seed=SEEDS)
def test_a_mismatched_answer_belongs_to_another_prompt(
    kinds: list[tuple[int, bool]], batch: int, seed: int
) -> None:
    if len({prompt for prompt, _ in kinds}) == 1:
        return
    for row in made(kinds, batch, seed):
        assert own_prompt(kinds, row["KL_completion_ids"]) != row["prompt_ids"][0]


@given(count=st.integers(2, 40), batch=st.integers(2, 16), seed=SEEDS)
def test_a_batch_of_different_prompts_uses_each_of_its_own_answers_once(
    count: int, batch: int, seed: int
) -> None:
    rows = made([(number, number % 2 == 0) for number in range(count)], batch, seed)
    for start in range(0, len(rows), batch):
        own = rows[start : start + batch]
        answers = Counter(row["completion_ids"][0] for row in own)
        assert Counter(row["KL_completion_ids"][0] for row in own) == answers


@given(kinds=KINDS, batch=st.integers(2, 16), seed=SEEDS)
def test_no_batch_has_one_example_and_every_answer_counts_once(
    kinds: list[tuple[int, bool]], batch: int, seed: int
) -> None:
    if len({prompt for prompt, _ in kinds}) == 1:
        return
    rows = made(kinds, batch, seed)
    assert len(rows) % batch != 1
    weights = Counter[int]()
    for row in rows:
        weights[row["completion_ids"][0]] += row["weight"]  # type: ignore[assignment]  # floats
    assert set(weights.values()) == {1.0}


def test_one_prompt_for_all_answers_is_refused() -> None:
    with pytest.raises(JobError, match="one prompt"):
        made([(1, True), (1, False), (1, True)], 2)
