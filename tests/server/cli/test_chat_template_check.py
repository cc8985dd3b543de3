"""What the doctor says of a model that cannot chat."""

import json
from pathlib import Path

import pytest

from server.cli.doctor import examine
from server.engine.config import EngineConfig
from server.settings import Settings

TOKENIZER = "tokenizer_config.json"


def said(tmp_path: Path, **engine: str) -> list[str]:
    """What the doctor finds about the chat template of the model in the folder."""
    settings = Settings(
        data_dir=tmp_path / "data", engine=EngineConfig(model=str(tmp_path), **engine)
    )
    return [one.text for one in examine(settings) if one.name == "chat_template"]


@pytest.mark.parametrize("config", ["{}", '{"chat_template": null}', "[]", "no JSON", None])
def test_a_model_without_a_chat_template_is_told(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / TOKENIZER).write_text(config)
    (text,) = said(tmp_path)
    assert "no chat template" in text
    assert "engine.chat_template" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (TOKENIZER, json.dumps({"chat_template": "{{ messages }}"})),
        (TOKENIZER, json.dumps({"chat_template": [{"name": "default", "template": "a"}]})),
        ("chat_template.jinja", "{{ messages }}"),
        ("chat_template.json", "{}"),
        ("tekken.json", "{}"),
    ],
)
def test_a_model_with_one_is_not(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert said(tmp_path) == []


def test_one_in_the_settings_is_enough(tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    assert said(tmp_path, chat_template=str(template)) == []


def test_of_a_model_elsewhere_nothing_is_said(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, engine=EngineConfig(model="some/model"))
    assert "chat_template" not in {one.name for one in examine(settings)}
