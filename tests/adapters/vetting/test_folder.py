"""Only the two files of an adapter count; what lies beside them is left, and named."""

import os
from pathlib import Path

import pytest

from adapters.config import AdaptersConfig
from adapters.errors import FolderError
from adapters.vetting.folder import check_folder, left_files
from adapters.vetting.vet import vet
from tests.adapters.adapter_files import BASE, make_adapter

BESIDE = [
    "training_args.bin",
    "adapter_model.bin",
    "optimizer.pt",
    "rng_state.pth",
    "state.pkl",
    "hook.py",
    "lib.so",
    "new_embeddings.safetensors",
    "checkpoint-100/optimizer.pt",
    "tokenizer.json",
]


@pytest.mark.parametrize("name", BESIDE)
def test_what_lies_beside_an_adapter_is_left_and_named(tmp_path: Path, name: str) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"\x80\x04.")
    vetted = vet(folder, BASE, AdaptersConfig())
    assert set(vetted.files) == {"adapter_config.json", "adapter_model.safetensors"}
    top, _, deeper = name.partition("/")
    assert (f"{top}/" if deeper else top) in left_files(folder)


def test_a_link_or_a_pipe_beside_an_adapter_is_left(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / "latest").symlink_to("/")
    os.mkfifo(folder / "pipe")
    check_folder(folder)
    assert left_files(folder) == ["README.md", "latest", "pipe"]


def test_many_files_are_counted_and_foreign_names_are_escaped(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / "\x1b[2J\n").touch()
    for number in range(30):
        (folder / f"{number:02}.txt").touch()
    left = left_files(folder)
    assert left[-1] == "and 12 more"
    assert all(name.isprintable() for name in left)


def test_a_folder_that_is_gone_leaves_nothing(tmp_path: Path) -> None:
    assert left_files(tmp_path / "gone") == []


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_opened(tmp_path: Path, name: str) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(FolderError, match="not a plain file"):
        check_folder(folder)
