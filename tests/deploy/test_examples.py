"""The examples in deploy/ are settings that Pawl takes."""

import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest

from server.cli.main import app
from server.settings import Settings

pytestmark = pytest.mark.pure

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


def test_the_one_gpu_settings_are_valid() -> None:
    settings = Settings(**tomllib.loads((EXAMPLES / "one-gpu.toml").read_text()))
    assert settings.retrain.hyper.quantization == "nf4"
    assert settings.retrain.judge is not None


def test_the_unit_starts_a_command_that_exists() -> None:
    unit = ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # keep the case of names
    unit.read(EXAMPLES / "pawl.service")
    command = unit["Service"]["ExecStart"].rsplit(maxsplit=1)[-1]
    assert command in {info.callback.__name__ for info in app.registered_commands if info.callback}


def test_the_unit_waits_for_the_drain() -> None:
    settings = Settings(**tomllib.loads((EXAMPLES / "one-gpu.toml").read_text()))
    unit = ConfigParser(strict=False)
    unit.read(EXAMPLES / "pawl.service")
    assert float(unit["Service"]["TimeoutStopSec"]) > settings.server.drain_seconds + 5
