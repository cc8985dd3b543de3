"""Chat templates as settings give them: a file, or the template itself.

It is vLLM's rule: a file that is there; else, with a brace or a line break, the template itself.
Serving and training both read them here, so that they use the same one.
"""

from pathlib import Path


def template_text(given: str) -> str:
    """The template itself.

    Raises `OSError` for a file that cannot be read, `UnicodeDecodeError` for one that is no text.
    """
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError):
        if any(mark in given for mark in "{}\n"):
            return given
        raise
