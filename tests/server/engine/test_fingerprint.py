"""Which changes of a model's files make it another model."""

import json
from pathlib import Path

import pytest

from server.engine.errors import EngineStartError
from server.engine.fingerprint import model_fingerprint


def model(
    folder: Path, *, config: str = "{}", header: str = "{}", weights: bytes = b"0123"
) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header.encode() + weights
    )
    return folder


def test_a_copy_is_the_same_model(tmp_path: Path) -> None:
    assert model_fingerprint(model(tmp_path / "a")) == model_fingerprint(model(tmp_path / "b"))


@pytest.mark.parametrize(
    "change",
    [
        {"config": '{"hidden_size": 1}'},
        {"header": json.dumps({"x": 1})},
        {"weights": b"01234"},
    ],
)
def test_another_config_header_or_size_is_another_model(
    tmp_path: Path, change: dict[str, str]
) -> None:
    changed = model(tmp_path / "b", **change)  # type: ignore[arg-type]
    assert model_fingerprint(model(tmp_path / "a")) != model_fingerprint(changed)


def test_a_tokenizer_is_not_part_of_it(tmp_path: Path) -> None:
    folder = model(tmp_path / "a")
    before = model_fingerprint(folder)
    (folder / "tokenizer.json").write_text("{}")
    assert model_fingerprint(folder) == before


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match=r"config\.json"):
        model_fingerprint(tmp_path)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    folder = model(tmp_path / "a")
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(EngineStartError, match="safetensors"):
        model_fingerprint(folder)
