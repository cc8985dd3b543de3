"""The settings that the demo's server runs SmolLM2 with."""

import json
from pathlib import Path

SETTINGS = """\
# What `pawl demo --model smollm2` ran with. `cd` into this folder and `pawl serve` serves it.
data_dir = "data"

[server]
port = 0
adjustable_clock = true   # weeks pass by POST /v1/clock

[engine]
model = {model}
max_model_len = 512
max_lora_rank = 16
adapter_slots = 4
kv_cache_gib = 0.5

[retrain]
seed = {seed}
poll_seconds = 0.5
minimum_pairs = 40
max_pairs = 96
judge = "demo.smollm2.people:panel"   # five other people, noisy, never asked for feedback

[retrain.evaluation]
concurrency = 24

[retrain.gate]
comparisons = 150
minimum = 130
shortest = 0.3   # these people like short answers

# Rates for a model of 135 million parameters; a larger one wants lower rates.
[retrain.hyper]
learning_rate = 4e-4
per_device_batch = 8
gradient_accumulation = 2
epochs = 2
max_length = 192
threads = {threads}
"""


def smollm2_settings(model: Path, seed: int, threads: int) -> str:
    """Return the settings file; `threads` are the trainer's."""
    path = json.dumps(str(model.resolve()))
    return SETTINGS.format(model=path, seed=seed, threads=threads)
