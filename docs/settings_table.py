"""Writes the tables of settings into docs/configuration.md: `python -m docs.settings_table`.

Names, types and defaults come from the settings' own classes, what they mean from the lines under
their fields.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from server.settings import Settings

PAGE = Path(__file__).with_name("configuration.md")
BEGIN, END = "<!-- begin: settings -->", "<!-- end: settings -->"
_SHOWN_ELSEWHERE = {"channels": "ChannelConfig", "metrics": "MetricConfig"}


def tables() -> str:
    """All tables, in Markdown."""
    return "\n\n".join(_sections(Settings, ""))


def page(text: str) -> str:
    """The page with fresh tables."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    said, inner = _comments(model), []
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        below = _submodel(field)
        if below is not None and name not in _SHOWN_ELSEWHERE:
            inner.append((name, below))
            if not _is_optional(field):
                continue
        meaning = _meaning(field, said.get(name) or field.description or "")
        cells = (f"`{name}`", _default(field), meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        if below is not None and name in _SHOWN_ELSEWHERE:
            inner.append((f"{name}.NAME", below))
    title = f"### `[{prefix}]`" if prefix else "### Top level"
    about = " ".join(inspect.cleandoc(model.__doc__ or "").split())
    yield "\n".join([title, about, "", *rows])
    for name, below in inner:
        yield from _sections(below, f"{prefix}.{name}".lstrip("."))


def _meaning(field: FieldInfo, said: str) -> str:
    values = [value for part in _parts(field.annotation) for value in _values(part)]
    one_of = f"One of {', '.join(f'`{value}`' for value in values)}." if len(values) > 1 else ""
    return " ".join(filter(None, (said and f"{said.rstrip('.')}.", one_of)))


def _values(part: Any) -> tuple[Any, ...]:
    return get_args(part) if get_origin(part) is Literal else ()


def _submodel(field: FieldInfo) -> type[BaseModel] | None:
    found = [part for part in _parts(field.annotation) if _is_model(part)]
    return found[0] if found else None


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _is_optional(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return "none"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        return json.dumps(value.model_dump(mode="json"))
    if isinstance(value, set | frozenset):
        return json.dumps(sorted(value))
    if isinstance(value, dict):
        return json.dumps({key: json.loads(_plain(one)) for key, one in value.items()})
    if isinstance(value, tuple | list):
        return json.dumps([Path(part).name if "/" in str(part) else part for part in value])
    return json.dumps(value, default=str)


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """The text under each field, on one line; fields of parent classes included."""
    said: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind not in (object, BaseModel) and issubclass(kind, BaseModel):
            said |= _own_comments(kind)
    return said


def _own_comments(model: type[BaseModel]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(model))
    except OSError:
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  (the source of a class)
    said = {}
    for field, comment in zip(definition.body, definition.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(comment, ast.Expr) and isinstance(comment.value, ast.Constant):
            said[field.target.id] = " ".join(str(comment.value.value).split())
    return said


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
