"""Checks the chat template of the settings before the engine starts."""

from importlib.util import find_spec

from common.chat_templates import template_text
from server.errors import SetupError

SETTING = "engine.chat_template"


def check_template(given: str) -> None:
    """Raise `SetupError` for a template that cannot be read or is not Jinja."""
    try:
        text = template_text(given)
    except OSError as error:
        raise SetupError(f"{SETTING}: the file cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SetupError(f"{SETTING}: the file is not text in UTF-8") from error
    if find_spec("jinja2") is not None:  # installed with vLLM and with the trainer
        _check_syntax(text)


def _check_syntax(text: str) -> None:
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415  (optional, see above)

    from server.engine.jinja import environment  # noqa: PLC0415

    try:
        environment().parse(text)
    except TemplateSyntaxError as error:
        raise SetupError(f"{SETTING}: line {error.lineno} is not Jinja") from error
