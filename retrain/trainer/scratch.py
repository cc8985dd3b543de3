"""Where a run keeps its files until they are done: a folder beside its output."""

import shutil
from pathlib import Path


def scratch_for(output: Path) -> Path:
    """Name the scratch folder: on the output's file system, so that one rename finishes the run."""
    return output.with_name(f".{output.name}.partial")


def fresh_scratch(output: Path) -> Path:
    """Make the scratch folder anew; what a killed run left there goes. Raises `OSError`."""
    folder = scratch_for(output)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
