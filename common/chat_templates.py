"""Reads a chat template as the settings give it: the path of a file, or the template itself.

The rule is that of vLLM (`vllm.renderers.chat_utils.load_chat_template`): an existing file is read;
a value with a brace or a line break is the template itself. Serving and training both read
templates here, so both use the same one.
"""

from pathlib import Path


def template_text(given: str) -> str:
    """Return the text of the template that the setting `given` names.

    Raises `OSError` if the file cannot be read and `UnicodeDecodeError` if it is not UTF-8.
    """
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError):
        if any(mark in given for mark in "{}\n"):
            return given
        raise
