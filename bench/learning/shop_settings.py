"""The settings of the servers that the shop's cases run on."""

import json
from pathlib import Path

SETTINGS = """\
data_dir = "data"

[server]
port = 0
adjustable_clock = true

[engine]
model = {model}
max_model_len = 512
max_lora_rank = 16

[retrain]
seed = {seed}
poll_seconds = 0.5
rollout_seconds = 1
minimum_pairs = 100
minimum_labels = 100
max_pairs = 1500
{retrain}

[retrain.counterparts]
enabled = {counterparts}
concurrency = 16

[retrain.evaluation]
concurrency = 16
first_pause = 0.1

[retrain.evaluation.harms]
rudeness = "demo.shop.harm:rudeness"

[retrain.gate.harm_ceilings]
rudeness = 0.10

[retrain.trainer]
learning_rate_first = 1.5e-3
tensorboard = false

[retrain.hyper]
learning_rate = 1e-3
loss_weights = [1.0, 0.3]
per_device_batch = 16
gradient_accumulation = 1
epochs = 3
max_length = 256
threads = 1
logging_steps = 5
{sections}
"""

KTO = """
[retrain.kto]
beta = 0.5
learning_rate_first = 2e-3
learning_rate = 1e-3
epochs = 3
"""
"""Rates for a model of half a million parameters; a real one wants far lower ones."""

PANEL = 'judge = "demo.shop.panel:panel"'
NOBODY = 'judge = "none"\nrollout = "canary"'
"""Nobody judges offline. The canary that would let users decide is cut short by the operator."""


def shop_settings(
    model: Path, seed: int, *, retrain: str, counterparts: bool, sections: str = ""
) -> str:
    """Return the file; `retrain` has lines of `[retrain]`, `sections` further sections."""
    return SETTINGS.format(
        model=json.dumps(str(model.resolve())),
        seed=seed,
        retrain=retrain,
        counterparts=json.dumps(counterparts),
        sections=sections,
    )
