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
    ],
)
def test_a_metric_that_makes_no_sense_is_refused(metric: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MetricConfig.model_validate(metric)


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
