"""The scratch folder of a training run, next to its output."""

import shutil
from pathlib import Path


def scratch_for(output: Path) -> Path:
    """Return the scratch folder, on the output's file system so that a rename is atomic."""
    return output.with_name(f".{output.name}.partial")


def fresh_scratch(output: Path) -> Path:
    """Create an empty scratch folder; removes what a killed run left. Raises `OSError`."""
    folder = scratch_for(output)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
