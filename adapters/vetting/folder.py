"""What of a folder is an adapter: two plain files. Everything else in it is left where it is.

Trainers leave more beside them: `training_args.bin`, optimizer states, checkpoints, a README. None
of that is read, copied or given to the engine, which loads a copy that holds the two files alone,
so that a pickle beside them is never opened.
"""

import os
import stat
from pathlib import Path

from adapters.errors import FolderError
from adapters.vetting.peft_config import CONFIG_FILE

WEIGHTS_FILE = "adapter_model.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""What an adapter is made of; nothing else of a folder is taken over."""

LEFT_MAX = 20
_NAME_MAX = 80


def check_folder(folder: Path) -> None:
    """Raise `FolderError` unless `folder` holds the two files, both plain, and `OSError`."""
    if folder.is_symlink() or not folder.is_dir():
        raise FolderError("an adapter is a folder, not a file or a link: name the folder itself")
    for name in FILES:
        _check_file(folder / name)


def left_files(folder: Path) -> list[str]:
    """What else lies in `folder` and is not taken over, sorted; folders end with a slash.

    Of more than `LEFT_MAX` the last entry says how many more. Nothing where the folder is gone.
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
    """The entry's name as it can be shown: a foreign one may hold anything."""
    name = entry.name if entry.name.isprintable() else ascii(entry.name)
    name = name if len(name) <= _NAME_MAX else f"{name[:_NAME_MAX]}…"
    return f"{name}/" if entry.is_dir(follow_symlinks=False) else name
