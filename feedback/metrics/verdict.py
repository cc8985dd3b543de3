"""What a value of a custom metric says about its answer: good, bad, or nothing. Pure."""

import math
from typing import Any

from feedback.config import MetricConfig


def verdict_of(metric: MetricConfig, value: Any) -> bool | None:
    """Return whether `value` of the metric calls its answer good (True) or bad (False).

    Training counts the verdict as a thumb of the weight `metric.trains`, and the online gate as a
    vote where `retrain.canary.votes` names the metric. None means that the value says neither:
    it lies between the thresholds, is no value of the metric's type, or the metric is a text.
    """
    match metric.type:
        case "boolean":
            return value is (metric.direction == "higher") if isinstance(value, bool) else None
        case "number":
            return _of_number(metric, value)
        case "category":
            return _of_category(metric, value)
        case "text":
            return None


def _of_number(metric: MetricConfig, value: Any) -> bool | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    sign = 1 if metric.direction == "higher" else -1
    if metric.good is not None and sign * value >= sign * metric.good:
        return True
    if metric.bad is not None and sign * value <= sign * metric.bad:
        return False
    return None


def _of_category(metric: MetricConfig, value: Any) -> bool | None:
    if value in metric.good_values:
        return True
    return False if value in metric.bad_values else None
