import pytest
from pydantic import ValidationError

from feedback.config import FeedbackConfig, MetricConfig

pytestmark = pytest.mark.pure

SQLITE_VARIABLES = 32_766


@pytest.mark.parametrize(
    "metric",
    [
        {"type": "boolean", "min": 0},
        {"type": "number", "min": 2, "max": 1},
        {"type": "number", "values": ["a"]},
        {"type": "category"},
        {"type": "number", "min": float("nan")},
        {"type": "colour"},
        {"type": "boolean", "trains": 1.5},
        {"type": "boolean", "trains": -0.1},
        {"type": "boolean", "good": 1},
        {"type": "text", "trains": 0.5},
        {"type": "number", "trains": 0.5},
        {"type": "number", "good": 1, "bad": 1},
        {"type": "number", "good": 1, "bad": 2},
        {"type": "number", "good": 2, "bad": 1, "direction": "lower"},
        {"type": "number", "good": 2, "max": 1},
        {"type": "number", "bad": 0, "min": 1},
        {"type": "number", "good_values": ["a"]},
        {"type": "category", "values": ["a", "b"], "trains": 0.5},
        {"type": "category", "values": ["a", "b"], "good_values": ["c"]},
        {"type": "category", "values": ["a", "b"], "good_values": ["a"], "bad_values": ["a", "b"]},
    ],
)
def test_a_metric_that_makes_no_sense_is_refused(metric: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MetricConfig.model_validate(metric)


@pytest.mark.parametrize(
    ("metric", "votes"),
    [
        ({"type": "boolean", "trains": 0.5}, True),
        ({"type": "number", "trains": 1, "good": 4}, False),
        ({"type": "number", "trains": 1, "bad": 2, "good": 4, "min": 1, "max": 5}, True),
        ({"type": "number", "bad": 4, "good": 2, "direction": "lower"}, True),
        ({"type": "category", "values": ["a", "b"], "trains": 0.2, "bad_values": ["a"]}, False),
        (
            {"type": "category", "values": ["a", "b"], "good_values": ["b"], "bad_values": ["a"]},
            True,
        ),
        ({"type": "text"}, False),
    ],
)
def test_a_metric_votes_if_it_can_say_good_and_bad(metric: dict[str, object], votes: bool) -> None:
    assert MetricConfig.model_validate(metric).votes is votes


def test_a_metric_does_not_train_unless_told_to() -> None:
    assert MetricConfig(type="boolean").trains == 0


@pytest.mark.parametrize("name", ["thumbs", "ranking", "Upper", "with space", ""])
def test_a_metric_needs_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValidationError):
        FeedbackConfig.model_validate({"metrics": {name: {"type": "boolean"}}})


def test_metrics_come_from_settings() -> None:
    config = FeedbackConfig.model_validate(
        {"metrics": {"tone": {"type": "category", "values": ["kind", "cold"]}}}
    )
    assert config.metrics["tone"].values == ("kind", "cold")


def test_a_groups_ids_fit_into_one_query_of_sqlite() -> None:
    largest = FeedbackConfig(group_max=256, ranking_max=100)
    assert largest.group_max * (largest.ranking_max + 1) < SQLITE_VARIABLES
    for field, value in (("group_max", 257), ("ranking_max", 101)):
        with pytest.raises(ValidationError, match=field):
            FeedbackConfig.model_validate({field: value})
