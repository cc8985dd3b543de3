"""Values that compare answers: what is accepted, what is stored, what is refused by its field."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.errors import InvalidInputError
from feedback.metrics.compared import check_preference, check_ranking
from feedback.metrics.ordering import OUTCOMES, ordering_of
from feedback.records import Subject

pytestmark = pytest.mark.pure

LIMIT = 8

entries = st.sampled_from("abcdefgh").flatmap(
    lambda name: st.sampled_from([name, {"id": name, "choice": 0}, {"id": name}])
)
rankings = st.lists(entries | st.lists(entries, min_size=1, max_size=4), max_size=5)


def judged(choice: int | None = None) -> Subject:
    return Subject("choice", "a", choice or 0, named=choice is not None)


def refusal(value: Any, choice: int | None = None, *, ranking: bool = False) -> str:
    check = partial(check_ranking, limit=LIMIT) if ranking else check_preference
    with pytest.raises(InvalidInputError) as refused:
        check(value, judged(choice))
    return refused.value.problems[0].field


def flat(ranking: list[Any]) -> list[str]:
    """The ids in a ranking, best first."""
    entries = [one for place in ranking for one in (place if isinstance(place, list) else [place])]
    return [one if isinstance(one, str) else one["id"] for one in entries]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_preference_names_the_other_side(outcome: str) -> None:
    value, subjects = check_preference({outcome: "b"}, judged(1))
    assert value == {outcome: "b", "choice": 0}
    assert [(one.id, one.choice) for one in subjects] == [("a", 1), ("b", 0)]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_two_choices_of_one_interaction_can_be_compared(outcome: str) -> None:
    value, _ = check_preference({outcome: "a", "choice": 1}, judged(0))
    assert value == {outcome: "a", "choice": 1}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_answer_is_not_compared_with_itself(outcome: str) -> None:
    assert refusal({outcome: "a"}) == f"value.{outcome}"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"choice": 1},
        {"over": "b", "tie": "b"},
        {"tie": "b", "both_bad": "b"},
        {"tie": ""},
        {"tie": None},
        {"both_bad": True},
        {"tie": ["b"]},
        {"tie": "b", "choice": -1},
        {"tie": "b", "more": 1},
        "b",
        ["b"],
    ],
)
def test_a_preference_says_exactly_one_thing_of_one_answer(value: Any) -> None:
    assert refusal(value) == "value"


def test_a_ranking_is_filled_in_and_starts_with_the_judged_answer() -> None:
    value, subjects = check_ranking(["b", {"id": "a", "choice": 2}], judged(), LIMIT)
    assert value == [{"id": "b", "choice": 0}, {"id": "a", "choice": 2}]
    assert (subjects[0].id, subjects[0].choice) == ("a", 2)


def test_a_ranking_must_hold_the_named_choice() -> None:
    assert refusal(["b", {"id": "a", "choice": 2}], 1, ranking=True) == "value"


def test_a_ranking_holds_groups_of_equals() -> None:
    value, subjects = check_ranking(["b", ["c", {"id": "a", "choice": 1}], "d"], judged(), LIMIT)
    group = [{"id": "c", "choice": 0}, {"id": "a", "choice": 1}]
    assert value == [{"id": "b", "choice": 0}, group, {"id": "d", "choice": 0}]
    assert [one.id for one in subjects] == ["a", "b", "c", "d"]
    assert [one.field for one in subjects] == ["value.1.1", "value.0", "value.1.0", "value.2"]


def test_a_group_of_one_is_that_answer() -> None:
    value, _ = check_ranking([["a"], ["b"]], judged(), LIMIT)
    assert value == [{"id": "a", "choice": 0}, {"id": "b", "choice": 0}]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (["a", []], "value.1"),
        ([["a", ["b", "c"]], "d"], "value.0"),
        ([["a", "b"], {"id": "c", "rank": 1}], "value.1"),
        ([["a", ""], "b"], "value.0.1"),
        (["a", ""], "value.1"),
        (["a", 5], "value.1"),
        ([["a", "b"], "a"], "value"),
        ([["a", "a"]], "value"),
        ([["a"]], "value"),
        (["b", ["c", "d"]], "value"),
        ([[*"abcde"], [*"fghi"]], "value"),
        ("ab", "value"),
        ({"a": 1}, "value"),
    ],
)
def test_a_ranking_that_breaks_a_rule_is_refused_by_its_place(value: Any, field: str) -> None:
    assert refusal(value, ranking=True) == field


@given(rankings)
def test_a_ranking_keeps_its_order_and_its_groups(given_ranking: list[Any]) -> None:
    try:
        value, subjects = check_ranking(given_ranking, judged(), LIMIT)
    except InvalidInputError:
        return
    ordering = ordering_of("ranking", value, ("a", 0))
    assert ordering is not None
    assert [id_ for id_, _ in ordering.answers] == flat(given_ranking)
    sizes = [len(place) if isinstance(place, list) else 1 for place in given_ranking]
    assert [len(group) for group in ordering.groups] == sizes
    assert {(one.id, one.choice) for one in subjects} == set(ordering.answers)


@given(rankings)
def test_a_normal_form_is_left_as_it_is(given_ranking: list[Any]) -> None:
    try:
        value, _ = check_ranking(given_ranking, judged(), LIMIT)
    except InvalidInputError:
        return
    assert check_ranking(value, judged(), LIMIT)[0] == value
