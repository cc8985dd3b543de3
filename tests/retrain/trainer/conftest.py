from pathlib import Path

import pytest

from tests.retrain.trainer.tiny import make_base, make_tokenizer


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model."""
    return make_base(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="session")
def tokenizer() -> object:
    """The tiny model's tokenizer; turns are separated by newlines, not ended by them."""
    return make_tokenizer()
