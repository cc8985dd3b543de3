"""The files of an adapter: two plain files of its folder. All others are ignored.

Trainers write more files: `training_args.bin`, optimizer states, checkpoints, a README. None of
them is read or copied. The engine loads a copy that contains only the two files, so that a pickle
in the folder is never opened.
"""

import os
import stat
from pathlib import Path

from adapters.errors import FolderError
from adapters.vetting.peft_config import CONFIG_FILE

WEIGHTS_FILE = "adapter_model.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""The files of an adapter; no other file of a folder is copied."""

LEFT_MAX = 20
"""Most ignored files that are listed by name."""
_NAME_MAX = 80


def check_folder(folder: Path) -> None:
    """Raise `FolderError` unless `folder` contains both files as plain files; raises `OSError`."""
    if folder.is_symlink() or not folder.is_dir():
        raise FolderError("an adapter is a folder, not a file or a link: name the folder itself")
    for name in FILES:
        _check_file(folder / name)


def left_files(folder: Path) -> list[str]:
    """Return the names in `folder` that are ignored, sorted; folders end with a slash.

    Beyond `LEFT_MAX` names, the last entry is the number of the others. Empty if the folder no
    longer exists.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(_shown(entry) for entry in entries if entry.name not in FILES)
    except OSError:
        return []
    more = len(names) - LEFT_MAX
    return names if more <= 0 else [*names[:LEFT_MAX], f"and {more} more"]


def _check_file(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise FolderError(
            f"the folder lacks {path.name}: save the adapter with PEFT's "
            "model.save_pretrained(folder), which writes safetensors"
        ) from None
    if stat.S_ISLNK(mode):
        raise FolderError(f"{path.name} is a link: copy the folder with 'cp -rL' and add the copy")
    if not stat.S_ISREG(mode):
        raise FolderError(f"{path.name} is not a plain file: save the adapter again")


def _shown(entry: os.DirEntry[str]) -> str:
    """Return the entry's name, escaped and shortened so that it is safe to log."""
    name = entry.name if entry.name.isprintable() else ascii(entry.name)
    name = name if len(name) <= _NAME_MAX else f"{name[:_NAME_MAX]}…"
    return f"{name}/" if entry.is_dir(follow_symlinks=False) else name
