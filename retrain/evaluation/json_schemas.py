"""JSON schemas of others, applied within bounds: patterns have a deadline, nothing is fetched."""

from collections.abc import Iterator, Mapping
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

REGEX_SECONDS = 0.25
"""A pattern that backtracks without end is cut off here, and the assertion fails."""


def found(pattern: str, text: str) -> bool:
    """Search with a deadline: the standard library's engine has none, and cannot be interrupted.

    Raises TimeoutError.
    """
    return regex.search(pattern, text, timeout=REGEX_SECONDS, concurrent=True) is not None


def violations(schema: Mapping[str, Any], value: object) -> Iterator[str]:
    """The keywords of a schema that a value does not satisfy.

    Raises TimeoutError (a pattern took too long) and RecursionError (nested too deeply).
    """
    for error in _Validator(schema, registry=Registry()).iter_errors(value):
        yield str(error.validator)


def satisfies(schema: Mapping[str, Any], value: object) -> bool:
    """Whether a value fits a schema that may be of anybody's making; one that is none fits all."""
    try:
        Draft202012Validator.check_schema(schema)
        return next(violations(schema, value), None) is None
    except (SchemaError, Unresolvable, TimeoutError, RecursionError, regex.error):
        return True  # nothing is shown against the value


def _bounded_pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not found(pattern, instance):
        yield ValidationError("pattern does not match")


def _bounded_pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: object, _schema: object
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        for name in [name for name in instance if found(pattern, name)]:
            yield from validator.descend(instance[name], schema, path=name, schema_path=pattern)


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"pattern": _bounded_pattern, "patternProperties": _bounded_pattern_properties},
)
