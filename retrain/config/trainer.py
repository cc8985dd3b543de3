"""`[retrain.trainer]`: how the trainer is started."""

import sys

from pydantic import ConfigDict, Field

from common.settings import Seconds, Section

DEFAULT_COMMAND = (sys.executable, "-m", "retrain.trainer")
"""The trainer of the installation that runs the server."""


class TrainerConfig(Section):
    """How the trainer is started."""

    model_config = ConfigDict(frozen=True)

    command: tuple[str, ...] = Field(default=DEFAULT_COMMAND, min_length=1)
    """Command that starts the trainer; the path of the job file is appended. The trainer runs as
    one process (`accelerate launch --num_processes 1 -m retrain.trainer`) on GPU 0. To use another
    GPU: `["env", "CUDA_VISIBLE_DEVICES=1", "/opt/pawl/.venv/bin/python", "-m",
    "retrain.trainer"]`."""
    descendant: bool = True
    """Whether the command starts the trainer as a descendant process of the server, so that it is
    killed when the server dies. Set it to false if the command runs the trainer in a container or
    on another machine."""
    terminate_seconds: Seconds = Field(default=10, gt=0)
    """Seconds between SIGTERM and SIGKILL when a trainer is stopped. Nothing is saved on SIGTERM,
    so ten seconds are ample."""
    learning_rate_first: float | None = Field(default=None, gt=0)
    """Learning rate for a new adapter (no warm start). None: `hyper.learning_rate`."""
    tensorboard: bool = True
    """Whether the trainer writes TensorBoard logs into the run's folder."""
