"""Ready-made metrics: the labels of annotation guides."""

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from feedback.config import BUILT_IN_METRICS, FeedbackConfig
from feedback.errors import FeedbackError
from feedback.metric_sets import METRIC_SETS, MetricSet
from feedback.metrics.verdict import verdict_of
from feedback.schemas import FeedbackIn
from feedback.validation import check

pytestmark = pytest.mark.pure
HELPFUL = {"type": "number", "min": 0, "max": 1, "good": 0.5, "bad": 0.1, "trains": 0.5}


def config(*sets: MetricSet, **metrics: Any) -> FeedbackConfig:
    return FeedbackConfig.model_validate({"metric_sets": sets, "metrics": metrics})


def test_no_set_is_used_unless_named() -> None:
    assert FeedbackConfig().metrics == {}


def test_a_set_adds_its_metrics_to_ones_own() -> None:
    names = set(config("hhh", solved={"type": "boolean"}).metrics)
    assert names == {"helpful", "honest", "harmless", "solved"}


def test_no_metric_of_a_set_is_built_in_or_in_two_sets_or_trains() -> None:
    names = Counter(name for metrics in METRIC_SETS.values() for name in metrics)
    assert max(names.values()) == 1
    assert not names.keys() & BUILT_IN_METRICS
    assert not any(metric.trains for metric in config(*METRIC_SETS).metrics.values())


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("helpful", 1, True),
        ("helpful", 0.25, False),
        ("quality", 0.5, None),
        ("humor", 0.75, True),
        ("toxicity", 1.0, False),
        ("violence", 0, True),
        ("spam", True, False),
        ("pii", False, True),
    ],
)
def test_each_metric_knows_its_direction(name: str, value: Any, good: bool | None) -> None:
    metrics = config("hhh", "openassistant").metrics
    assert verdict_of(metrics[name], value) is good


def test_a_definition_of_ones_own_is_used_instead() -> None:
    assert config("hhh", helpful=HELPFUL).metrics["helpful"].trains == 0.5


def test_a_definition_of_another_type_is_refused() -> None:
    with pytest.raises(ValidationError, match="helpful is a boolean"):
        config("hhh", helpful={"type": "boolean"})


def test_the_settings_survive_being_written_and_read() -> None:
    once = config("hhh", "openassistant", helpful=HELPFUL)
    assert FeedbackConfig.model_validate(once.model_dump(mode="json")) == once


def test_a_value_outside_the_range_is_refused() -> None:
    said = {"inference_id": "chatcmpl-x", "metric_name": "quality", "value": 5}
    with pytest.raises(FeedbackError):
        check(FeedbackIn.model_validate(said), config("openassistant"))


def test_a_metric_is_unknown_without_its_set() -> None:
    said = {"inference_id": "chatcmpl-x", "metric_name": "quality", "value": 1}
    with pytest.raises(FeedbackError):
        check(FeedbackIn.model_validate(said), config("hhh"))
