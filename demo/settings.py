"""The settings that the demo's server runs with."""

import json
from enum import StrEnum
from pathlib import Path

JUDGE_LINE = 'judge = "demo.shop.panel:panel"   # five other users, noisy, never asked for feedback'

FOOLED_JUDGE_LINE = (
    'judge = "demo.shop.fooled_panel:fooled_panel"   # falls for answers that sound careful'
)

SETTINGS = """\
# What `pawl demo` ran with. `cd` into this folder and `pawl serve` serves the result.
data_dir = "data"

[server]
port = 0
adjustable_clock = true   # weeks pass by POST /v1/clock

[engine]
model = {model}
max_model_len = 512
max_lora_rank = 16

[retrain]
poll_seconds = 0.5
rollout_seconds = 0.5
minimum_pairs = 50
max_pairs = 800
{judge}

[retrain.pairs]
events_per_rater = 60

# A thumb is given to an answer that nobody asked for again: the judge compares it with new ones.
[retrain.counterparts]
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
tensorboard = true

# A model of half a million parameters wants far higher rates than a real one.
[retrain.hyper]
learning_rate = 1e-3
loss_weights = [1.0, 0.3]
per_device_batch = 16
gradient_accumulation = 1
epochs = 3
max_length = 256
threads = 1
logging_steps = 5

# For labels without a counterpart, where they are the most part.
[retrain.kto]
beta = 0.5
learning_rate_first = 2e-3
learning_rate = 1e-3
epochs = 3
"""


CANARY_SETTINGS = """
# What follows is for `--rollout canary`: 720 users, so smaller stages than a shop of millions has.
[retrain.canary]
shadow_share = 0.5
shadow_answers = 25
shadow_hours = 6
first_share = 0.2
first_requests = 30
"""


class ModelChoice(StrEnum):
    """The demo's model: one of its own that knows a made-up shop, or a pretrained one."""

    SHOP = "shop"
    SMOLLM2 = "smollm2"


class RolloutChoice(StrEnum):
    """What follows the offline gate in the demo: `retrain.rollout`."""

    DIRECT = "direct"
    CANARY = "canary"


def demo_settings(model: Path, seed: int, rollout: RolloutChoice) -> str:
    """Return the settings file. With a canary, the offline gate is milder and can be fooled."""
    text = SETTINGS.format(model=json.dumps(str(model.resolve())), judge=JUDGE_LINE)
    text = text.replace("[retrain]", f"[retrain]\nseed = {seed}", 1)
    if rollout == RolloutChoice.DIRECT:
        return text
    changes = {
        "poll_seconds = 0.5": "poll_seconds = 0.25",
        "rollout_seconds = 0.5": 'rollout_seconds = 0.25\nrollout = "canary"',
        JUDGE_LINE: FOOLED_JUDGE_LINE,
        # The judge errs on purpose: it is not to choose what is trained on.
        "[retrain.counterparts]\n": "[retrain.counterparts]\nenabled = false\n",
        # Users in a rollout mostly give single thumbs, which make too few pairs for a run.
        "minimum_pairs = 50": "minimum_pairs = 150",
        "[retrain.gate.harm_ceilings]": (
            "[retrain.gate]\nalpha = 0.05   # users have the last word\n\n"
            "[retrain.gate.harm_ceilings]"
        ),
    }
    for old, new in changes.items():
        text = text.replace(old, new, 1)
    return text + CANARY_SETTINGS
