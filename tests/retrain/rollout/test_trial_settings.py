"""The settings of a rollout are those at its start."""

import json

import pytest

from feedback.config import MetricConfig
from retrain.config import CanaryConfig, OnlineGateConfig
from retrain.rollout.trial_settings import TrialSettings

pytestmark = pytest.mark.pure

METRICS = {
    "solved": MetricConfig(type="boolean"),
    "kept": MetricConfig(type="number", good=0.8, bad=0.2, trains=0.5),
}


def test_the_metrics_that_vote_are_kept_with_their_thresholds() -> None:
    config = CanaryConfig(
        votes=frozenset({"thumbs", "kept"}), share=0.3, gate=OnlineGateConfig(rated_users=7)
    )
    stored = json.loads(json.dumps(TrialSettings.of(config, METRICS).model_dump(mode="json")))
    read = TrialSettings.model_validate(stored)
    assert read.metrics == {"kept": METRICS["kept"]}
    assert (read.share, read.gate.rated_users, read.votes) == (0.3, 7, config.votes)


def test_settings_of_an_earlier_release_are_read() -> None:
    stored = CanaryConfig().model_dump(mode="json")
    assert TrialSettings.model_validate(stored).metrics == {}
