"""Checks in the base model's files whether it has a chat template, without loading the model."""

import json
from pathlib import Path

from server.engine.config import EngineConfig

_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
_OWN_RENDERERS = ("tekken.json", "params.json")
"""Files of tokenizers that render conversations without a template (Mistral's)."""
MISSING = (
    "{model} has no chat template: chat requests will be refused. Set engine.chat_template to a "
    "Jinja file, or use POST /v1/completions"
)


def missing_chat_template(engine: EngineConfig) -> str | None:
    """Return a warning if chat requests would be refused for lack of a template, else None.

    A model that is no local folder cannot be checked here; the server checks it at startup.
    """
    folder = Path(engine.model)
    if engine.kind != "vllm" or not engine.model or not folder.is_dir() or engine.chat_template:
        return None
    found = any((folder / name).exists() for name in (*_FILES, *_OWN_RENDERERS))
    if found or _in_tokenizer_config(folder / "tokenizer_config.json"):
        return None
    return MISSING.format(model=engine.model)


def _in_tokenizer_config(path: Path) -> bool:
    try:
        settings = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and bool(settings.get("chat_template"))
