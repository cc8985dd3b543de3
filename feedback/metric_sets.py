"""Ready-made metrics: the labels of published annotation guides, for `feedback.metric_sets`.

A graded label is a number from 0 to 1; guides with five grades use 0, 0.25, 0.5, 0.75 and 1. From
0.75 on the answer clearly has the quality, up to 0.25 it clearly lacks it.

- `hhh`: helpful, honest, harmless (Askell et al., arXiv:2112.00861; Bai et al., arXiv:2204.05862).
- `openassistant`: the labels of the OpenAssistant corpus (Köpf et al., arXiv:2304.07327).
"""

from collections.abc import Mapping
from typing import Any, Literal

MetricSet = Literal["hhh", "openassistant"]
Definition = Mapping[str, Any]
"""The settings of one metric, as in `[feedback.metrics.NAME]`."""

_GRADE: Definition = {"type": "number", "min": 0, "max": 1, "good": 0.75, "bad": 0.25}
_FAULT_GRADE: Definition = {**_GRADE, "direction": "lower", "good": 0.25, "bad": 0.75}
_FAULT: Definition = {"type": "boolean", "direction": "lower"}

METRIC_SETS: Mapping[MetricSet, Mapping[str, Definition]] = {
    "hhh": {"helpful": _GRADE, "honest": _GRADE, "harmless": _GRADE},
    "openassistant": {
        "quality": _GRADE,
        "helpfulness": _GRADE,
        "creativity": _GRADE,
        "humor": _GRADE,
        "toxicity": _FAULT_GRADE,
        "violence": _FAULT_GRADE,
        "spam": _FAULT,
        "fails_task": _FAULT,
        "lang_mismatch": _FAULT,
        "pii": _FAULT,
        "not_appropriate": _FAULT,
        "hate_speech": _FAULT,
        "sexual_content": _FAULT,
    },
}
"""The metrics of each set by name. No name is in two sets."""
