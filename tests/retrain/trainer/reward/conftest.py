from pathlib import Path

import pytest

from tests.retrain.trainer.reward.votes import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A folder with a reward model (`model`) that knows what people like."""
    folder = tmp_path_factory.mktemp("reward") / "job"
    train(folder, base)
    return folder
