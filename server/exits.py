"""Exit codes, and reading of settings: an invalid setting ends the process with one line."""

import os
import tomllib
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.text import Text

from server.settings import Settings, misspelt

EXIT_SETUP = 2
"""The settings do not allow a start; a restart would fail too."""
EXIT_ENGINE_DEAD = 70
"""The engine died; the supervisor restarts the server."""
EXIT_BUSY = 75
"""A resource that the settings name is in use or does not answer; the supervisor tries again."""

errors = Console(stderr=True)


def fail(message: str, code: int) -> NoReturn:
    """Print an error in one line and exit with `code`."""
    errors.print(Text.assemble(("error: ", "red"), message), soft_wrap=True)
    raise SystemExit(code) from None


def checked(read: Callable[[], Settings]) -> Settings:
    """Read the settings; exit with the setting's name, but not its value, if one is invalid."""
    for variable in misspelt(os.environ):
        fail(
            f"{variable} sets nothing: no setting has that name; write a section, two underscores "
            "and the setting (PAWL_RETRAIN__ENABLED)",
            EXIT_SETUP,
        )
    try:
        return read()
    except ValidationError as error:
        for setting, problem in problems_by_setting(error).items():
            errors.print(Text(f"setting {setting}: {problem}", "red"), soft_wrap=True)
        raise SystemExit(EXIT_SETUP) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fail(f"pawl.toml is not TOML: {error}", EXIT_SETUP)
    except OSError as error:
        fail(f"pawl.toml cannot be read: {error.strerror}", EXIT_SETUP)
    except SettingsError as error:
        fail(f"{error}: it must be JSON", EXIT_SETUP)


def problems_by_setting(error: ValidationError) -> dict[str, str]:
    """Return the problem of each invalid setting, in one line without its value."""
    found: dict[str, list[str]] = {}
    for problem in error.errors(include_input=False, include_url=False):
        message = " ".join(str(problem["msg"]).removeprefix("Value error, ").split())
        found.setdefault(setting_path(problem["loc"]), []).append(message)
    # A union gives errors for each of its members; nested errors come from the intended one.
    outer = {one for one in found for other in found if other.startswith(f"{one}.")}
    return {one: ", or ".join(found[one]) for one in found if one not in outer}


def setting_path(place: Sequence[int | str]) -> str:
    """Return the dotted name of the setting at `place`, pydantic's location of an error.

    pydantic adds the member of a union that it tried (`retrain.judge.JudgeEndpoint.model`), and
    `[key]` after an invalid key. Neither is part of a setting's name.
    """
    path: list[str] = []
    kinds: list[Any] = [Settings]
    for part in place:
        below = [found for kind in kinds for found in _below(kind, part)]
        if below:
            path.append(str(part))
            kinds = below
        elif isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
            path.append(str(part))  # an unknown setting
    return ".".join(path)


def _below(kind: Any, part: int | str) -> list[Any]:
    """Return the types that `part` of a value of this type may have; empty if it has no parts."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return [] if field is None else _forms(field.annotation)
    arguments = get_args(kind)
    if get_origin(kind) is dict and part != "[key]":
        return _forms(arguments[1])
    if get_origin(kind) in (list, tuple, frozenset) and isinstance(part, int):
        return _forms(arguments[0])
    return []


def _forms(kind: Any) -> list[Any]:
    """Return the members of a union; any other type alone."""
    if get_origin(kind) is Annotated:
        return _forms(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [form for member in get_args(kind) for form in _forms(member)]
    return [kind]
