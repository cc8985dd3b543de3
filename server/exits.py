"""Settings as whoever starts Pawl gave them: a bad one ends the process, named and not echoed."""

import os
import tomllib
from collections.abc import Callable
from typing import NoReturn

from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.text import Text

from server.settings import Settings, misspelt

EXIT_SETUP = 2
"""The settings do not allow a start: starting again would not help."""


EXIT_ENGINE_DEAD = 70

errors = Console(stderr=True)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong, in one line, and end."""
    errors.print(Text.assemble(("error: ", "red"), message), soft_wrap=True)
    raise SystemExit(code) from None


def checked(read: Callable[[], Settings]) -> Settings:
    """Read the settings; a bad one ends the command and names the field, not its value."""
    for variable in misspelt(os.environ):
        fail(
            f"{variable} sets nothing: two underscores go down a section that there is "
            "(PAWL_RETRAIN__ENABLED)",
            EXIT_SETUP,
        )
    try:
        return read()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            field = ".".join(str(part) for part in problem["loc"])
            errors.print(Text(f"setting {field}: {problem['msg']}", "red"), soft_wrap=True)
        raise SystemExit(EXIT_SETUP) from None
    except tomllib.TOMLDecodeError as error:
        fail(f"pawl.toml is not TOML: {error}", EXIT_SETUP)
    except SettingsError as error:
        fail(f"{error}: it must be JSON", EXIT_SETUP)
