import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from feedback.config import BUILT_IN_METRICS, FeedbackConfig
from feedback.errors import InvalidInputError
from feedback.schemas import FeedbackIn, problems
from feedback.validation import CheckedFeedback, StoredAnswers, check, check_against_log

pytestmark = pytest.mark.pure

CONFIG = FeedbackConfig.model_validate(
    {
        "metrics": {
            "solved": {"type": "boolean"},
            "seconds": {"type": "number", "min": 0, "max": 60, "direction": "lower"},
            "free": {"type": "number"},
            "remark": {"type": "text"},
            "tone": {"type": "category", "values": ["kind", "cold"]},
        },
        "text_max": 50,
        "demonstration_max": 80,
        "name_max": 30,
    }
)
METRICS = [*BUILT_IN_METRICS, *CONFIG.metrics]
METRICS.sort()
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.just("a")
KEYS = ANY_TEXT | st.sampled_from(["over", "tie", "both_bad", "choice", "id"])
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
FIELDS = dict.fromkeys([*FeedbackIn.model_fields, "unknown"], ANYTHING)


def judged(metric: str, value: Any, **fields: Any) -> CheckedFeedback:
    given = {"inference_id": "a", "metric_name": metric, "value": value, **fields}
    return check(FeedbackIn.model_validate(given), CONFIG)


def refusal(metric: str, value: Any, **fields: Any) -> str:
    with pytest.raises(InvalidInputError) as refused:
        judged(metric, value, **fields)
    return refused.value.problems[0].field


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_any_object_is_feedback_or_a_validation_error_without_its_input(body: Any) -> None:
    named: set[str] = set()
    try:
        FeedbackIn.model_validate(body)
    except ValidationError as error:
        named = {problem.field for problem in problems(error, FeedbackIn)}
    assert named <= {*FeedbackIn.model_fields, "body"}


@given(st.sampled_from(METRICS), ANYTHING, st.none() | st.integers(0, 3))
def test_any_value_is_checked_or_refused_by_name(metric: str, value: Any, choice: Any) -> None:
    try:
        kept = judged(metric, value, choice=choice).value
    except InvalidInputError as error:
        named = {problem.field.split(".")[0] for problem in error.problems}
        assert named == {"value"}
    else:
        assert json.loads(json.dumps(kept, allow_nan=False)) == kept


@given(st.sampled_from(METRICS), ANYTHING)
def test_a_normal_form_is_accepted_and_kept(metric: str, value: Any) -> None:
    try:
        normal = judged(metric, value).value
    except InvalidInputError:
        return
    assert judged(metric, normal).value == normal


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("thumbs", True),
        ("rating", 5),
        ("comment", "fine"),
        ("demonstration", "d" * 80),
        ("solved", False),
        ("seconds", 1.5),
        ("free", 2**63 - 1),
        ("remark", "ok"),
        ("tone", "kind"),
    ],
)
def test_a_fitting_value_is_kept_as_it_is(metric: str, value: Any) -> None:
    assert judged(metric, value).value == value


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("thumbs", 1),
        ("rating", 0),
        ("rating", 6),
        ("rating", True),
        ("rating", 3.5),
        ("rating", 2**70),
        ("comment", "  "),
        ("comment", "c" * 51),
        ("comment", "\ud800"),
        ("comment", "a\x00b"),
        ("demonstration", "d" * 81),
        ("seconds", -1),
        ("seconds", 61),
        ("free", float("nan")),
        ("free", float("inf")),
        ("free", 2**63),
        ("free", False),
        ("tone", "rude"),
        ("tone", ["kind"]),
        ("preference", "b"),
        ("ranking", ["a"]),
        ("ranking", "ab"),
        ("ranking", ["a", "a"]),
        ("ranking", ["a", {"id": "a", "choice": 0}]),
        ("ranking", ["b", "c"]),
        ("ranking", ["a"] + [str(place) for place in range(40)]),
    ],
)
def test_an_unfit_value_is_refused(metric: str, value: Any) -> None:
    assert refusal(metric, value) == "value"


def test_an_unknown_metric_is_refused() -> None:
    assert refusal("stars", 3) == "metric_name"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rater", "r" * 31),
        ("id", "i" * 31),
        ("rationale", "r" * 51),
        ("tags", {"k": "v" * 31}),
        ("tags", {str(number): "v" for number in range(20)}),
    ],
)
def test_too_much_is_refused_by_name(field: str, value: Any) -> None:
    assert refusal("thumbs", True, **{field: value}) == field


def stored(conversation: str = "c", choices: int = 1) -> StoredAnswers:
    return StoredAnswers(conversation, choices, "base")


def test_what_is_not_stored_yet_is_not_checked() -> None:
    check_against_log(judged("preference", {"over": "b", "choice": 9}).subjects, {"a": stored()})


@pytest.mark.parametrize(
    ("judgement", "field"),
    [
        (judged("thumbs", value=True, choice=3), "choice"),
        (judged("thumbs", value=True), "choice"),
        (judged("preference", {"over": "b", "choice": 4}, choice=0), "value.choice"),
        (judged("preference", {"tie": "b"}, choice=0), "value.choice"),
        (judged("ranking", [["b", {"id": "a", "choice": 1}]]), "value.0.0"),
        (judged("ranking", [{"id": "a", "choice": 1}, "b"]), "value.1"),
    ],
)
def test_a_choice_must_be_there_and_named(judgement: CheckedFeedback, field: str) -> None:
    log = {"a": stored(choices=3), "b": stored(choices=2)}
    with pytest.raises(InvalidInputError) as refused:
        check_against_log(judgement.subjects, log)
    assert refused.value.problems[0].field == field


def test_answers_to_different_conversations_are_not_compared() -> None:
    log = {"a": stored("one"), "b": stored("two")}
    with pytest.raises(InvalidInputError, match="different conversations"):
        check_against_log(judged("preference", {"over": "b"}).subjects, log)
